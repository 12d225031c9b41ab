import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Client, ConfigError, cost, LlmtrailError } from '../dist/index.mjs'
import { folder } from './servers.ts'

const PRICES = new URL('../../tests/prices/', import.meta.url)
const read = (name: string) => readFileSync(new URL(name, PRICES), 'utf8')
// biome-ignore lint/suspicious/noExplicitAny: cases are free-form JSON
type Case = any
const lines = (name: string): Case[] =>
  read(name)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

const AMOUNTS = {
  input_cost: 'input',
  output_cost: 'output',
  request_cost: 'request',
  web_search_cost: 'webSearch',
  total_cost: 'total',
} as const
// A case without a time happens after every change of prices.
const UNDATED = '2100-01-01T12:00:00Z'

const client = new Client({ dir: folder() })

/** Where the case's cost differs from what it expects. */
function ours(one: Case, catalogues: Case, reading: string): Record<string, string | null> {
  let prices = one.prices
  if (prices === 'built-in') {
    prices = undefined
  } else {
    prices = prices?.[reading] ?? prices ?? {}
    prices = 'catalogue' in prices ? catalogues[prices.catalogue] : (prices.set ?? prices)
  }
  const found = client.cost({
    properties: one.properties,
    prices,
    at: one.properties.timestamp ?? UNDATED,
    ...(one.semantics === 'genai-prices' ? { reasoningExclusive: false } : {}),
  })
  const expected = one.expected[reading] ?? one.expected
  const hasParts = one.semantics === 'posthog' || reading === 'posthog'
  const differences: Record<string, string | null> = {}
  for (const [name, member] of Object.entries(AMOUNTS)) {
    let wanted = null
    if (!('error' in expected)) {
      if (!(name in expected) || (expected[name] === null && !hasParts)) continue
      wanted = expected[name]
    }
    if (found[member] !== wanted) differences[name] = found[member]
  }
  if ('source' in expected && prices === undefined) {
    // Without counts there is no cost, and the answer's source is that of the prices that it shows.
    const source = found.reason === 'the provider reported no usage' ? 'unknown' : found.source
    expect([one.id, source]).toEqual([one.id, expected.source])
  }
  return differences
}

describe('cost', () => {
  it('gives what the shared cases expect, or what is listed', () => {
    const catalogues = JSON.parse(read('catalogues.json'))
    const reviewed = JSON.parse(read('differences.json'))
    const listed = Object.assign({}, ...reviewed.rules.map((rule: Case) => rule.rows))
    const cases = lines('cost.jsonl')
    const found = cases
      .map((one) => [one.id, ours(one, catalogues, reviewed.conflicts[one.id] ?? '')] as const)
      .filter(([, differences]) => Object.keys(differences).length > 0)
    expect(cases.length).toBeGreaterThan(200)
    expect(Object.fromEntries(found)).toEqual(listed)
  })

  it('gives the worked rows exactly', () => {
    const wrong = lines('worked.jsonl').map((one) => [one.id, ours(one, {}, '')])
    expect(wrong.filter(([, differences]) => Object.keys(differences).length > 0)).toEqual([])
  })

  it('tells everything about an answer', () => {
    const found = client.cost({
      model: 'gpt-5-mini',
      provider: 'oai',
      inputTokens: 4096,
      outputTokens: 128,
      cacheReadTokens: 2048,
      at: new Date('2026-11-20T00:00:00Z'),
    })
    expect(found).toMatchObject({
      total: '0.0008192',
      totalUsd: 0.0008192,
      input: '0.0005632',
      output: '0.000256',
      source: 'openrouter',
      model: 'openai/gpt-5-mini',
      provider: 'openai',
      match: 'exact',
      mode: 'standard',
      inputOver: null,
      reason: null,
      at: '2026-11-20T00:00:00Z',
      assumptions: [],
      repaired: [],
      prices: { input: '0.25', cache_read: '0.025', output: '2' },
      catalogue: expect.stringMatching(/^openrouter 20/),
    })
    expect(found.buckets.cache_read).toEqual({ units: 2048, unitPrice: '0.000000025', amount: '0.0000512' })
    expect(cost({ model: 'gpt-5-mini', inputTokens: 4 }).total).toBe('0.000001')
  })

  it('says of an unknown model why there is no price', () => {
    const found = client.cost({ model: 'o1-mini-foo', provider: 'openai', inputTokens: 1 })
    expect(found).toMatchObject({ total: null, totalUsd: null, source: 'unknown' })
    expect(found.reason).toBe('no price list has a model of this name')
  })

  it('knows both lifetimes of a cache', () => {
    const call = { model: 'claude-sonnet-4-5', provider: 'anthropic', inputTokens: 0, at: 1_795_000_000_000 }
    expect(client.cost({ ...call, cacheWrite1hTokens: 1000 }).total).toBe('0.006')
    expect(client.cost({ ...call, cacheWriteTokens: 1500, cacheWrite1hTokens: 1000 }).total).toBe('0.007875')
  })

  it('keeps a reported cost and puts the catalogue’s beside it', () => {
    const call = { provider: 'openrouter', inputTokens: 1000, outputTokens: 100, at: 1_795_000_000_000 }
    expect(client.cost({ model: 'openai/gpt-5-mini', reportedCost: '0.0004', ...call })).toMatchObject({
      source: 'reported',
      total: '0.0004',
      catalogueSource: 'openrouter',
      catalogueTotal: '0.00045',
      difference: '-0.00005',
    })
  })

  it.each([
    [{ inputTokens: -1 }, /^inputTokens: expected a whole number of at least 0, got -1/],
    [{ inputTokens: 'many' }, /^inputTokens: expected a whole number/],
    [{ at: 'soon' }, /^at: expected a time/],
    [{ model: '' }, /^model: expected a string that is not empty/],
    [{ input_tokens: 1 }, /^cost: unknown word input_tokens; known are model/],
    [{ properties: 3 }, /^properties: expected an object/],
  ])('says of %j what is wrong', (words, says) => {
    expect(() => client.cost({ model: 'm', ...words } as never)).toThrow(says)
    expect(() => client.cost({ model: 'm', ...words } as never)).toThrow(LlmtrailError)
  })
})

describe('prices of one’s own', () => {
  it('count before the catalogue’s', () => {
    const dir = folder()
    const client = new Client({ dir })
    client.setPrice({
      model: 'in-house-*',
      input: '0.10',
      cacheWrite1h: 3,
      output: 0.2,
      over: { 1000: { input: '0.5' } },
    })
    client.setPrice({ model: 'gpt-5-mini', provider: 'openai', multiplier: '0.8', validFrom: '2026-01-01' })
    const { total } = client.cost({ model: 'in-house-2', inputTokens: 1000, outputTokens: 1000 })
    expect(total).toBe('0.0003')
    expect(client.cost({ model: 'in-house-2', inputTokens: 2000 }).total).toBe('0.001')
    const call = { model: 'gpt-5-mini', provider: 'openai', inputTokens: 1000 }
    expect(client.cost({ ...call, at: '2026-11-20' })).toMatchObject({ total: '0.0002', source: 'custom' })
    expect(client.cost({ ...call, at: '2025-11-20' })).toMatchObject({
      total: '0.00025',
      source: 'openrouter',
    })
    const list = [{ model: 'gpt-5-mini', input: '7', output: 8 }]
    expect(client.cost({ ...call, prices: list }).total).toBe('0.007')
    const file = join(dir, 'prices.toml')
    writeFileSync(file, '[[price]]\nmodel = "x"\ninput = 1\n')
    expect(client.cost({ model: 'x', inputTokens: 1000, prices: file }).total).toBe('0.001')
  })

  it.each([
    ['/nowhere/prices.toml', /^prices: cannot read \/nowhere\/prices.toml/],
    [[{ input: 1 }], /^prices: price 1: this price has no `model`/],
    [[{ model: 'm' }], /^prices: price 1: this price has neither/],
    [[{ model: 'm', inpt: 1 }], /unknown key `inpt`/],
  ])('that are wrong are a ConfigError: %j', (prices, says) => {
    expect(() => client.cost({ model: 'm', prices } as never)).toThrow(ConfigError)
    expect(() => client.cost({ model: 'm', prices } as never)).toThrow(says)
  })

  it('must say something', () => {
    expect(() => client.setPrice({ model: 'm' })).toThrow(/neither a price nor/)
    expect(() => client.setPrice({ model: 'm', input: 'dear' })).toThrow(/`input` must be a decimal number/)
    expect(() => client.setPrice({} as never)).toThrow(/no `model`/)
  })
})
