// Beside the real OpenTelemetry: its trace's id is taken over, its spans are nobody's parents, and nothing of it is set.
import { context, trace as otel, propagation, ROOT_CONTEXT } from '@opentelemetry/api'
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { completion, forest, ingestion, pause, provider } from './servers.ts'

const API = Symbol.for('opentelemetry.js.api.1')
const registered = () => ({ ...(globalThis as unknown as Record<symbol, object | undefined>)[API] })

const server = await ingestion()
const model = await provider((_, response) =>
  response.setHeader('content-type', 'application/json').end(completion('hello')),
)
const client = server.client({ hosts: { [model.authority]: 'openai' } })
const sdk = new NodeTracerProvider()
const tracer = sdk.getTracer('test')

beforeAll(async () => {
  // Before there is anything to look at.
  await client.trace('before', () => ask('asks before'))
  client.continueFrom({ traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01` }, () => client.headers())
  expect(registered()).toEqual({})
  await sent()
  sdk.register()
})
afterAll(async () => {
  expect(client.stats().notes).toEqual({})
  await client.shutdown(2000)
  await sdk.shutdown()
  server.close()
  model.close()
})

async function ask(content: string): Promise<string> {
  const body = JSON.stringify({ model: 'gpt-5-mini', messages: [{ role: 'user', content }] })
  return (await client.fetch(model.chat, { method: 'POST', body })).text()
}

async function sent() {
  await client.flush(10_000)
  return server.events.splice(0)
}

it('takes over the id of the trace that is active', async () => {
  const set = registered()
  const [id, spanId] = await tracer.startActiveSpan('request', async (span) => {
    await client.trace('first', async () => {
      await pause(1)
      await client.span('step', () => tracer.startActiveSpan('deep', () => ask('in a step')))
    })
    await client.trace('second', () => ask('in the second'))
    await client.span('lone', () => ask('in a lone span'))
    await ask('alone')
    span.end()
    return [span.spanContext().traceId, span.spanContext().spanId]
  })
  const events = await sent()
  const within = (name: string) =>
    events.filter(({ properties: p }) => (p.$ai_span_name ?? p.$ai_input[0].content) === name)[0]?.properties
  for (const name of ['first', 'step', 'in a step', 'lone', 'in a lone span', 'alone'])
    expect(within(name)?.$ai_trace_id, name).toBe(id)
  // One trace is one event: another one in there has an id of its own.
  expect(within('second')?.$ai_trace_id).not.toBe(id)
  expect(within('in the second')?.$ai_trace_id).toBe(within('second')?.$ai_trace_id)
  expect(JSON.stringify(events)).not.toContain(spanId)
  expect(forest(events)).toEqual({
    first: { step: { 'in a step': {} } },
    second: { 'in the second': {} },
    lone: { 'in a lone span': {} },
    alone: {},
  })
  expect(registered()).toEqual(set)
})

it('keeps requests apart that run side by side', async () => {
  const ids = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      tracer.startActiveSpan(`request ${n}`, async (span) => {
        await pause(n % 5)
        const id = await client.trace(`${n}`, async (trace) => {
          await ask(`call ${n}`)
          return trace.traceId
        })
        expect(id).toBe(span.spanContext().traceId)
        return id
      }),
    ),
  )
  expect(new Set(ids).size).toBe(20)
  const tree = Object.fromEntries(ids.map((_, n) => [`${n}`, { [`call ${n}`]: {} }]))
  expect(forest(await sent())).toEqual(tree)
})

it('has ids of its own where none is active, or one without an id', async () => {
  const zero = otel.wrapSpanContext({ traceId: '0'.repeat(32), spanId: '0'.repeat(16), traceFlags: 0 })
  const [none, invalid] = [
    client.trace('none', (trace) => trace.traceId),
    context.with(otel.setSpan(ROOT_CONTEXT, zero), () => client.trace('invalid', (trace) => trace.traceId)),
  ]
  expect(none).toMatch(/^[0-9a-f-]{36}$/)
  expect(invalid).toMatch(/^[0-9a-f-]{36}$/)
  await sent()
})

it('goes on from what OpenTelemetry sent, and the other way round', async () => {
  const headers: Record<string, string> = {}
  const id = tracer.startActiveSpan('caller', (span) => {
    propagation.inject(context.active(), headers)
    return span.spanContext().traceId
  })
  await client.continueFrom(headers, () => client.trace('here', () => ask('asks')))
  const events = await sent()
  expect(events.map(({ properties }) => properties.$ai_trace_id)).toEqual([id, id])
  expect(forest(events)).toEqual({ here: { asks: {} } })
  const ours = client.trace('ours', { traceId: id.replace(/./g, 'a') }, () => client.headers())
  const there = otel.getSpanContext(propagation.extract(ROOT_CONTEXT, ours))
  expect(there).toMatchObject({ traceId: 'a'.repeat(32), isRemote: true })
  await sent()
})
