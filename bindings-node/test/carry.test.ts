import { EventEmitter } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, carry, type Scope } from '../dist/index.mjs'
import {
  chunk,
  completion,
  type Event,
  type Ingestion,
  ingestion,
  pause,
  provider,
  STREAM,
} from './servers.ts'

let server: Ingestion
let model: Awaited<ReturnType<typeof provider>>
let client: Client

beforeAll(async () => {
  server = await ingestion()
  model = await provider((request, response) => {
    if (!request.body.includes('"stream":true')) {
      response.setHeader('content-type', 'application/json').end(completion('hello'))
      return
    }
    response.writeHead(200, STREAM)
    response.write(chunk('hel'))
    setTimeout(() => response.end(`${chunk('lo', 'stop')}data: [DONE]\n\n`), 5)
  })
  client = server.client({ hosts: { [model.authority]: 'openai' } })
})
afterAll(async () => {
  await client.shutdown(2000)
  server.close()
  model.close()
})

async function sent(): Promise<Event[]> {
  await client.flush(10_000)
  return server.events.splice(0)
}

async function spans(): Promise<Record<string, Event['properties']>> {
  const events = await sent()
  return Object.fromEntries(events.map((event) => [event.properties.$ai_span_name, event.properties]))
}

function ask(stream: boolean, content: string): Promise<Response> {
  const body = JSON.stringify({ model: 'gpt-5-mini', stream, messages: [{ role: 'user', content }] })
  return client.fetch(model.chat, { method: 'POST', body })
}

describe('scopes', () => {
  it('are carried to listeners', async () => {
    const emitter = new EventEmitter()
    const trace = client.trace('t', (trace) => {
      emitter.on(
        'carried',
        carry((name: string) => client.span(name, () => name)),
      )
      emitter.on('bare', () => client.span('bare', () => undefined))
      return trace
    })
    emitter.emit('carried', 'carried')
    emitter.emit('bare')
    const found = await spans()
    expect(found.carried?.$ai_parent_id).toBe(trace.traceId)
    expect(found.bare?.$ai_trace_id).not.toBe(trace.traceId)
  })

  it('hold generators only while they run', async () => {
    const generator = client.trace('sync', function* (trace) {
      yield client.span('first', () => trace.traceId)
      yield client.span('second', () => trace.traceId)
    })
    const first = generator.next().value
    client.span('between', () => undefined)
    expect([...generator]).toEqual([first])
    const stream = client.trace('async', async function* () {
      yield 1
      await pause(1)
      client.span('inside', () => undefined)
      throw new RangeError('bad')
    })
    await expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toThrow('bad')
    const found = await spans()
    expect(found.second?.$ai_trace_id).toBe(first)
    expect(found.between?.$ai_trace_id).not.toBe(first)
    expect(found.sync?.$ai_is_error).toBeUndefined()
    expect(found.inside?.$ai_parent_id).toBe(found.async?.$ai_trace_id)
    expect(found.async?.$ai_error).toBe('bad')
  })

  it('can be entered, disposed of and told more', async () => {
    const work = async () => {
      const trace = client.startTrace('t').enter()
      const span = client.startSpan('s')
      span.name = 'better'
      span.type = 'agent'
      span.fail(new TypeError('no'))
      span[Symbol.dispose]()
      await trace[Symbol.asyncDispose]()
      return trace
    }
    const trace = await work()
    client.span('after', () => undefined)
    const found = await spans()
    expect(found.better).toMatchObject({
      $ai_parent_id: trace.traceId,
      $ai_span_type: 'agent',
      $ai_error_type: 'TypeError',
    })
    expect(found.after?.$ai_trace_id).not.toBe(trace.traceId)
  })

  it('go on in another process', async () => {
    expect(client.headers()).toEqual({})
    const [trace, span, headers] = client.trace(
      'here',
      { distinctId: 'u', sessionId: 's', privacy: true },
      (trace) =>
        client.span('ask', (span): [Scope, Scope, Record<string, string>] => [trace, span, client.headers()]),
    )
    expect(Object.keys(headers).sort()).toEqual(['baggage', 'traceparent'])
    for (const form of [headers, new Headers(headers), Object.entries(headers)]) {
      client.continueFrom(form as Record<string, string>, () =>
        client.trace('there', { input: 'x' }, (there) => {
          expect([there.traceId, there.distinctId, there.sessionId]).toEqual([trace.traceId, 'u', 's'])
        }),
      )
    }
    const found = await spans()
    expect(found.there).toMatchObject({ $ai_parent_id: span.spanId, $ai_input_state: null })
  })

  it('keep 200 interleaved requests with nested spans and streams apart', async () => {
    const request = (n: number) =>
      client.trace(`request ${n}`, { distinctId: `user-${n}`, properties: { n } }, async () => {
        const late = await client.span(`outer ${n}`, async () => {
          await pause(n % 7)
          await client.span(`inner ${n}`, async () => (await ask(false, `plain ${n}`)).text())
          return ask(true, `stream ${n}`)
        })
        // The stream is read after the span in which it was asked for.
        const [text] = await Promise.all([late.text(), client.span(`beside ${n}`, () => pause(n % 3))])
        expect(text).toContain('[DONE]')
      })
    await Promise.all(Array.from({ length: 200 }, (_, n) => request(n)))
    const events = await sent()
    expect(events).toHaveLength(200 * 6)
    const traces = new Map<string, Event[]>()
    for (const event of events) {
      const id = event.properties.$ai_trace_id as string
      traces.set(id, [...(traces.get(id) ?? []), event])
    }
    expect(traces.size).toBe(200)
    for (const [id, of] of traces) {
      const n = of[0]?.properties.n as number
      expect(of.every((event) => event.properties.n === n && event.distinct_id === `user-${n}`)).toBe(true)
      const nodes = new Map(of.map((event) => [event.properties.$ai_span_id ?? id, event]))
      const parentOf = (event: Event | undefined) => {
        const parent = event?.properties.$ai_parent_id as string
        return parent === id ? 'trace' : nodes.get(parent)?.properties.$ai_span_name
      }
      const named = (name: string) => of.find((event) => event.properties.$ai_span_name === name)
      const asked = (content: string) =>
        of.find((event) => event.properties.$ai_input?.[0]?.content === content)
      expect(parentOf(named(`outer ${n}`))).toBe('trace')
      expect(parentOf(named(`beside ${n}`))).toBe('trace')
      expect(parentOf(named(`inner ${n}`))).toBe(`outer ${n}`)
      expect(parentOf(asked(`plain ${n}`))).toBe(`inner ${n}`)
      expect(parentOf(asked(`stream ${n}`))).toBe(`outer ${n}`)
      // Start and end nest: to the millisecond that timestamps have.
      const begin = (event: Event | undefined) => Date.parse(event?.timestamp ?? '')
      const end = (event: Event | undefined) =>
        begin(event) + 1000 * (event?.properties.$ai_latency ?? event?.properties.$ai_trace_latency)
      const pairs = [
        [`request ${n}`, `outer ${n}`],
        [`outer ${n}`, `inner ${n}`],
        [`request ${n}`, `beside ${n}`],
      ].map((pair) => pair.map(named))
      for (const [around, inside] of pairs) {
        expect(begin(inside)).toBeGreaterThanOrEqual(begin(around))
        // A scope begins by two clocks that are read one after the other, and a thread may stand still between.
        expect(end(inside)).toBeLessThanOrEqual(end(around) + 30)
      }
    }
  }, 60_000)
})
