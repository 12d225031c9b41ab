import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { Client, type Event as Given, type LlmtrailError } from '../dist/index.mjs'
import { folder, type Ingestion, ingestion } from './servers.ts'

const run = promisify(execFile)
const PACKAGE = join(import.meta.dirname, '..')

let server: Ingestion
beforeAll(async () => {
  server = await ingestion()
})
afterAll(() => server.close())

describe('beforeSend', () => {
  it('changes, keeps or drops an event', async () => {
    const client = server.client({
      beforeSend: (event) => {
        if (event.properties.secret) return null
        return { ...event, uuid: 'mine', distinct_id: 'somebody', properties: { seen: event.event } }
      },
    })
    const uuid = client.capture('ordered', { distinctId: 'user' })
    client.capture('ordered', { distinctId: 'user', properties: { secret: true } })
    const report = await client.shutdown()
    expect(report).toMatchObject({ captured: 2, delivered: 1, pending: 0, dropped: { hook: 1 } })
    const [event] = server.events.splice(0)
    expect(event).toMatchObject({ uuid, distinct_id: 'somebody', properties: { seen: 'ordered' } })
  })

  it('may be async, and sees the events of a burst in their order', async () => {
    const seen: unknown[] = []
    const client = server.client({
      beforeSend: async (event: Given) => {
        if (seen.length % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
        seen.push(event.properties.n)
        return event
      },
    })
    for (let n = 0; n < 500; n++) client.capture('ordered', { properties: { n } })
    expect(await client.shutdown()).toMatchObject({ delivered: 500 })
    expect(seen).toEqual([...Array(500).keys()])
    server.events.splice(0)
  })

  it('goes on where a test had timers of its own for a while', async () => {
    const client = server.client({ beforeSend: (event) => event })
    vi.useFakeTimers()
    try {
      client.capture('ordered')
      await client.flush(1000)
    } finally {
      vi.useRealTimers()
    }
    client.capture('ordered')
    expect(await client.shutdown()).toMatchObject({ delivered: 2 })
    server.events.splice(0)
  })

  it.each([
    [
      'throws',
      () => {
        throw new TypeError('no')
      },
      'TypeError: no',
    ],
    [
      'rejects',
      async () => {
        throw new TypeError('no')
      },
      'TypeError: no',
    ],
    ['gives back something else', () => ({ event: 'x' }), 'without a distinct_id'],
  ])('does not let an event go when it %s', async (_, hook, says) => {
    const errors: LlmtrailError[] = []
    const client = server.client({ beforeSend: hook as never, onError: (error) => errors.push(error) })
    client.capture('ordered')
    client.capture('ordered')
    expect(await client.shutdown()).toMatchObject({ delivered: 0, dropped: { hook: 2 } })
    await expect.poll(() => errors.length).toBe(1)
    expect(errors[0]).toMatchObject({ code: 'hook', message: expect.stringContaining(says) })
    expect(server.events.splice(0)).toEqual([])
  })

  it('that never answers holds up a shutdown until its deadline, and its events are gone', async () => {
    const client = server.client({ beforeSend: () => new Promise(() => {}) })
    client.capture('ordered')
    const begun = performance.now()
    expect(await client.shutdown(1000)).toMatchObject({ pending: 0, dropped: { shutdown: 1 } })
    expect(performance.now() - begun).toBeLessThan(10_000)
  })

  it('that is no function is an error at the door', () => {
    expect(() => new Client({ beforeSend: 'print' as never })).toThrow('beforeSend: expected a function')
  })
})

describe('at the end of a program', () => {
  async function node(script: string) {
    const env = {
      ...process.env,
      POSTHOG_API_KEY: 'phc_test',
      POSTHOG_HOST: server.host,
      LLMTRAIL_DIR: folder(),
    }
    const head = `const llmtrail = require(${JSON.stringify(PACKAGE)});
      llmtrail.init({ beforeSend: (e) => ({ ...e, properties: { ...e.properties, seen: true } }) });`
    const begun = performance.now()
    await run(process.execPath, ['-e', head + script], { env })
    return { events: server.events.splice(0), took: performance.now() - begun }
  }

  it.each(['', 'process.exit(0)', 'setTimeout(() => process.exit(0), 20)'])(
    'everything is seen: %s',
    async (end) => {
      const { events, took } = await node(`for (let n = 0; n < 250; n++) llmtrail.capture("a"); ${end}`)
      expect(events.map((event) => event.properties.seen)).toEqual(Array(250).fill(true))
      expect(took).toBeLessThan(8000)
    },
  )

  it('of a worker too, whose hooks are its own', async () => {
    const inner = `const llmtrail = require(${JSON.stringify(PACKAGE)});
      llmtrail.init({ beforeSend: (e) => ({ ...e, properties: { inner: true } }) });
      for (let n = 0; n < 20; n++) llmtrail.capture("inner");`
    const { events } = await node(`llmtrail.capture("outer");
      new (require('node:worker_threads').Worker)(${JSON.stringify(inner)}, { eval: true });`)
    const inside = events.filter((event) => event.event === 'inner')
    expect(inside.map((event) => event.properties.inner)).toEqual(Array(20).fill(true))
    expect(events.filter((event) => event.properties.seen).map((event) => event.event)).toEqual(['outer'])
  })
})

describe('onError', () => {
  it('is told which trouble there is, without the key', async () => {
    const errors: LlmtrailError[] = []
    const client = server.client({
      host: 'http://127.0.0.1:9',
      maxRetries: 0,
      spool: 'off',
      onError: (error) => {
        errors.push(error)
        throw new Error('of its own')
      },
    })
    client.capture('ordered')
    await client.flush(5000)
    await expect.poll(() => errors[0]?.code).toBe('unreachable')
    expect(errors[0]?.message).not.toContain('phc_test')
    await client.shutdown(300)
  })
})

it('keeps the same traces as every other language', async () => {
  const client = server.client({ sampleRate: 0.5 })
  for (let n = 1; n <= 6; n++) client.trace('answer', { traceId: `trace-${n}` }, () => {})
  expect(await client.shutdown()).toMatchObject({ dropped: { sampled: 5 } })
  expect(server.events.splice(0).map((event) => event.properties.$ai_trace_id)).toEqual(['trace-1'])
})
