import { createRequire } from 'node:module'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as llmtrail from '../dist/index.mjs'
import { Client, ConfigError, init, LlmtrailError, wrap } from '../dist/index.mjs'
import { folder, type Ingestion, ingestion } from './servers.ts'

let server: Ingestion
beforeAll(async () => {
  server = await ingestion()
})
afterAll(() => server.close())

describe('options', () => {
  it.each([
    [{ host: 'posthog' }, /^host: expected an address/],
    [{ flushAt: -1 }, /^flushAt: expected a whole number from 1 to 10000, got -1/],
    [{ flushInterval: -5 }, /^flushInterval: expected milliseconds above 0/],
    [{ timeout: Number.NaN }, /^timeout: expected milliseconds above 0.*"NaN"/],
    [{ sampleRate: 2 }, /^sampleRate: expected a number from 0 to 1/],
    [{ bogus: 1 }, /^bogus: unknown option\..*Known options: apiKey, host/],
    [{ flush_at: 1 }, /Did you mean flushAt\?/],
    [{ properties: 'x' }, /^properties: expected an object/],
    [42, /^options: expected an object/],
  ])('%j is a ConfigError that names the option', (options, says) => {
    const make = () => init(options as never)
    expect(make).toThrow(ConfigError)
    expect(make).toThrow(says)
    expect(() => new Client(options as never)).toThrow(expect.objectContaining({ code: 'config' }))
  })

  it('leaves out what is undefined or null', () => {
    expect(() => new Client({ flushAt: undefined, host: null } as never)).not.toThrow()
  })
})

describe('wrap', () => {
  it.each([[42], [null], [undefined], ['client'], [{}], [() => 1], [new Map()], [{ fetch: 1 }]])(
    'says of %s what it supports instead',
    (what) => {
      expect(() => wrap(what)).toThrow(TypeError)
      expect(() => wrap(what)).toThrow(/OpenAI.*Anthropic/)
    },
  )

  const sdk = () => ({
    baseURL: 'http://127.0.0.1:1',
    fetch: globalThis.fetch,
    withOptions(options: object): object {
      return { ...this, ...options }
    },
  })

  it('gives the same object back, observed once', () => {
    const client = sdk()
    expect(wrap(client)).toBe(client)
    const { fetch } = client
    expect(fetch).not.toBe(globalThis.fetch)
    expect(wrap(client).fetch).toBe(fetch)
    wrap(client, { provider: 'groq' })
    expect(client.fetch).not.toBe(fetch)
  })

  it('makes an observed twin of a client that others share', () => {
    const client = sdk()
    const twin = wrap(client, { copy: true })
    expect(twin).not.toBe(client)
    expect(client.fetch).toBe(globalThis.fetch)
    expect(twin.fetch).not.toBe(globalThis.fetch)
  })

  it('refuses a client that it cannot hook', () => {
    expect(() => wrap(Object.freeze(sdk()))).toThrow(TypeError)
    const stubborn = Object.defineProperty(sdk(), 'fetch', { get: () => globalThis.fetch, set() {} })
    expect(() => wrap(stubborn)).toThrow(/does not take another fetch/)
  })

  it.each([
    [{ provider: 5 }, /^provider: expected a name/],
    [{ copy: 'yes' }, /^copy: expected true or false/],
    [{ providr: 'x' }, /^providr: unknown option/],
    [7, /^wrap: expected an object/],
  ])('%j is a ConfigError', (options, says) => {
    expect(() => wrap(sdk(), options as never)).toThrow(ConfigError)
    expect(() => wrap(sdk(), options as never)).toThrow(says)
  })
})

describe('capture', () => {
  it('sends any event, whatever is in its properties', async () => {
    const client = server.client()
    const properties: Record<string, unknown> = {
      when: new Date(0),
      map: new Map([['a', 1n]]),
      nan: Number.NaN,
    }
    properties.self = properties
    const uuid = client.capture('signed up', {
      distinctId: 'user-1',
      properties,
      groups: { company: 'acme' },
      timestamp: new Date('2026-01-02T03:04:05.678Z'),
    })
    const report = await client.shutdown(5000)
    expect(report).toMatchObject({ captured: 1, delivered: 1, pending: 0 })
    const event = server.events.find((event) => event.uuid === uuid)
    expect(event).toMatchObject({
      event: 'signed up',
      distinct_id: 'user-1',
      timestamp: '2026-01-02T03:04:05.678Z',
      properties: {
        when: '1970-01-01T00:00:00.000Z',
        map: { a: 1 },
        nan: 'NaN',
        self: '[Circular]',
        $groups: { company: 'acme' },
        $ai_lib_language: 'node',
      },
    })
  })

  it('refuses what makes no sense', () => {
    const client = server.client()
    expect(() => client.capture(' ')).toThrow(LlmtrailError)
    expect(() => client.capture('a', { uuid: 'x' })).toThrow(/^uuid: "x" is not a UUID/)
    expect(() => client.capture('a', { timestamp: Number.NaN })).toThrow(
      expect.objectContaining({ code: 'usage' }),
    )
  })

  it('does nothing when switched off', async () => {
    const client = server.client({ enabled: false })
    client.capture('nothing')
    expect(await client.flush(1000)).toMatchObject({ captured: 0, delivered: 0 })
  })
})

describe('the package', () => {
  it('is one and the same from both module systems', () => {
    const required = createRequire(import.meta.url)('..')
    expect(Object.keys(required).sort()).toEqual(Object.keys(llmtrail).sort())
    expect(required.Client).toBe(llmtrail.Client)
    expect(required.trace).toBe(llmtrail.trace)
  })

  it('tells where events go', async () => {
    const dir = folder()
    const client = new Client({ dir })
    client.capture('local')
    expect(await client.flush(5000)).toMatchObject({ delivered: 1 })
    expect(client.stats().sink).toContain(dir)
    await client.shutdown()
  })
})
