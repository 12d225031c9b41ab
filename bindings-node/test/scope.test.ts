import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, Scope } from '../dist/index.mjs'
import { completion, type Event, type Ingestion, ingestion, pause, provider } from './servers.ts'

let server: Ingestion
let model: Awaited<ReturnType<typeof provider>>
let client: Client

beforeAll(async () => {
  server = await ingestion()
  model = await provider((_, response) =>
    response.setHeader('content-type', 'application/json').end(completion('hello')),
  )
  client = server.client({ hosts: { [model.authority]: 'openai' } })
})
afterAll(async () => {
  await client.shutdown(2000)
  server.close()
  model.close()
})

async function sent(): Promise<Event[]> {
  await client.flush(5000)
  return server.events.splice(0)
}

async function call(): Promise<string> {
  const body = JSON.stringify({ model: 'gpt-5-mini', messages: [{ role: 'user', content: 'hi' }] })
  const response = await client.fetch(model.chat, { method: 'POST', body })
  return (
    ((await response.json()) as { choices: { message: { content: string } }[] }).choices[0]?.message
      .content ?? ''
  )
}

describe('scopes', () => {
  it('place calls in session, trace and span', async () => {
    const given = await client.session('chat-1', { distinctId: 'user-1' }, (session) => {
      expect(session.sessionId).toBe('chat-1')
      return client.trace('answer', { properties: { plan: 'pro' }, input: 'question' }, async (trace) => {
        const docs = await client.span('retrieve', { type: 'retrieval', input: 'q' }, async (span) => {
          await call()
          span.output = ['doc']
          span.set({ found: 1 })
          return ['doc']
        })
        await client.options({ properties: { step: 2 }, groups: { company: 'acme' } }, call)
        trace.output = 'answer'
        return { docs, traceId: trace.traceId, usage: await trace.usage(), cost: await trace.costUsd() }
      })
    })
    expect(given.docs).toEqual(['doc'])
    expect(given.usage).toMatchObject({ calls: 2, unpriced: 0, usage: { input_text: 10, output_text: 4 } })
    expect(given.cost).toBeGreaterThan(0)
    const events = await sent()
    expect(events.map((event) => event.event).sort()).toEqual([
      '$ai_generation',
      '$ai_generation',
      '$ai_span',
      '$ai_trace',
    ])
    for (const event of events) {
      expect(event.distinct_id).toBe('user-1')
      expect(event.properties).toMatchObject({
        $ai_session_id: 'chat-1',
        $ai_trace_id: given.traceId,
        plan: 'pro',
      })
    }
    const [span] = events.filter((event) => event.event === '$ai_span')
    expect(span?.properties).toMatchObject({
      $ai_span_name: 'retrieve',
      $ai_span_type: 'retrieval',
      $ai_input_state: 'q',
      $ai_output_state: ['doc'],
      found: 1,
    })
    const generations = events.filter((event) => event.event === '$ai_generation')
    const parents = generations.map((event) => event.properties.$ai_parent_id)
    expect(parents.sort()).toEqual([given.traceId, span?.properties.$ai_span_id].sort())
    expect(generations.find((event) => event.properties.step === 2)?.properties.$groups).toEqual({
      company: 'acme',
    })
  })

  it('give back what the function gives, sync and async', async () => {
    expect(client.trace('t', () => 5)).toBe(5)
    expect(client.span('s', () => undefined)).toBeUndefined()
    await expect(client.trace('t', async () => 'a')).resolves.toBe('a')
    expect(client.session((session) => session.sessionId)).toBeTypeOf('string')
    expect(() => client.trace('t', 5 as never)).toThrow(TypeError)
    await sent()
  })

  it('hold what begins its work when it is waited for', async () => {
    const lazy = () => ({
      // biome-ignore lint/suspicious/noThenProperty: that is what it is about
      then(done: (value: string) => void, failed: (error: unknown) => void) {
        void call().then(() => done('made'), failed)
      },
    })
    expect(await client.trace('lazy', lazy)).toBe('made')
    const events = await sent()
    expect(events.map((event) => event.event).sort()).toEqual(['$ai_generation', '$ai_trace'])
    expect(new Set(events.map((event) => event.properties.$ai_trace_id)).size).toBe(1)
  })

  it('record an error and pass it on unchanged', async () => {
    class Refused extends RangeError {
      override name = 'Refused'
    }
    const error = new Refused('too far')
    expect(() =>
      client.span('sync', () => {
        throw error
      }),
    ).toThrow(error)
    const rejected = client.trace('async', async () => {
      await pause(1)
      throw error
    })
    await expect(rejected).rejects.toBe(error)
    await expect(client.trace('odd', () => Promise.reject('just text'))).rejects.toBe('just text')
    await expect(client.trace('none', () => Promise.reject(undefined))).rejects.toBe(undefined)
    const events = await sent()
    expect(events.map(({ properties }) => [properties.$ai_is_error, properties.$ai_error])).toEqual([
      [true, expect.stringContaining('too far')],
      [true, expect.stringContaining('too far')],
      [true, expect.stringContaining('just text')],
      [true, expect.anything()],
    ])
  })

  it('can be ended by hand, once', async () => {
    const trace = client.startTrace('by hand', { traceId: 'trace-7' })
    expect(trace).toBeInstanceOf(Scope)
    const span = trace.startSpan('inner')
    await span.run(() => call())
    span.end()
    span.end()
    trace.end(new Error('late'))
    const events = await sent()
    expect(events.map((event) => event.event).sort()).toEqual(['$ai_generation', '$ai_span', '$ai_trace'])
    expect(events.every((event) => event.properties.$ai_trace_id === 'trace-7')).toBe(true)
    expect(events.find((event) => event.event === '$ai_trace')?.properties.$ai_is_error).toBe(true)
  })

  it('keep concurrent requests apart', async () => {
    const names = Array.from({ length: 50 }, (_, i) => `user-${i}`)
    await Promise.all(
      names.map((distinctId) =>
        client.trace(distinctId, { distinctId }, async () => {
          await pause(Math.random() * 5)
          await call()
        }),
      ),
    )
    const generations = (await sent()).filter((event) => event.event === '$ai_generation')
    expect(generations.map((event) => event.distinct_id).sort()).toEqual([...names].sort())
  })

  it('never fail for what they are given', async () => {
    const nasty: Record<string, unknown> = { fn: () => 1, big: 1n, nan: Number.NaN, s: '\ud800' }
    nasty.self = nasty
    client.trace('nasty', { properties: nasty, input: nasty, distinctId: 5 as never }, (trace) => {
      trace.output = nasty
      trace.set(nasty)
    })
    const [event] = await sent()
    expect(event).toMatchObject({
      distinct_id: '5',
      properties: { big: 1, nan: 'NaN', fn: '[Function: fn]' },
    })
    expect(client.stats().notes).toEqual({})
  })
})
