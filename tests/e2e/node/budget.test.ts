// Budgets: loops of calls stop at the limit to within one call, and what each SDK makes of the refusal.
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { type Budget, BudgetExceeded, Client, ConfigError, LlmtrailError } from 'llmtrail'
import OpenAI from 'openai'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Front, folder, Loopback, readCase } from './loopback.ts'
import { type Any, SDKS } from './sdks.ts'

const TEMPORARY = folder()
const HI = {
  model: 'gpt-5-mini',
  messages: [{ role: 'user' as const, content: 'Where is my order 7, please?' }],
}

let server: Loopback
let front: Front
let trail: Client
let chat: OpenAI

beforeAll(async () => {
  server = await Loopback.start()
  front = await Front.start(server)
})
beforeEach(() => {
  trail = new Client({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000 })
  chat = trail.wrap(new OpenAI({ apiKey: 'sk-test', baseURL: `${server.url}/v1` }), { provider: 'openai' })
})
afterEach(async () => {
  await trail.shutdown(10_000)
  expect(trail.stats().notes.observer).toBeUndefined()
  await server.reset()
})
afterAll(() => {
  front.close()
  server.close()
})

const costOfOne = () =>
  trail.trace('one', async (trace) => {
    await chat.chat.completions.create(HI)
    const cost = await trace.costUsd()
    expect(cost).toBeGreaterThan(0)
    return cost as number
  })

async function call(stream: boolean): Promise<void> {
  if (!stream) {
    await chat.chat.completions.create(HI)
    return
  }
  for await (const _ of await chat.chat.completions.create({ ...HI, stream: true }));
}

/** Calls until the budget says no; how often it said yes. */
async function untilRefused(stream: boolean): Promise<number> {
  for (let made = 0; made < 100; made++) {
    try {
      await call(stream)
    } catch (error) {
      expect(error).toBeInstanceOf(BudgetExceeded)
      return made
    }
  }
  throw new Error('it went on')
}

function withinOneCall(spent: number | undefined, limit: number, one: number): void {
  expect(spent).toBeGreaterThanOrEqual(limit)
  expect(spent).toBeLessThan(limit + one * 1.001)
}

describe('totals', () => {
  it('are of a trace, a session, a person and the process', async () => {
    let traceId: string | undefined
    for (let n = 0; n < 4; n++) {
      await trail.session(`s-${n % 2}`, { distinctId: `user-${n % 2}` }, () =>
        trail.trace('t', (trace) => {
          traceId = trace.traceId
          return call(false)
        }),
      )
    }
    const one = await trail.totals({ traceId: traceId as string })
    expect(one).toMatchObject({ calls: 1, unpriced: 0 })
    for (const totals of [
      await trail.totals({ sessionId: 's-0' }),
      await trail.totals({ distinctId: 'user-1' }),
    ]) {
      expect(totals.calls).toBe(2)
      expect(totals.costUsd).toBeCloseTo(2 * (one.costUsd ?? 0), 12)
      expect(totals.usage.output_text).toBe(2 * (one.usage.output_text ?? 0))
    }
    expect((await trail.totals()).calls).toBe(4)
    expect((await trail.totals({ distinctId: 'nobody' })).calls).toBe(0)
    expect(() => trail.totals({ distinctId: 'a', sessionId: 'b' })).toThrow(LlmtrailError)
  })
})

describe('a budget', () => {
  it.each([{ usd: -1 }, { usd: 'much' }, { usd: 1, per: 'week' }, { usd: 1, action: 'stop' }])(
    'is refused at the door: %o',
    (options) => {
      expect(() => trail.budget(options as Any)).toThrow(ConfigError)
      expect(() => trail.budget(options as Any)).toThrow(/^budget: (usd|per|action): expected/)
    },
  )

  it.each([false, true])('stops a loop at the limit (stream: %s)', async (stream) => {
    const one = await costOfOne()
    const limit = 4.5 * one
    trail.budget({ usd: limit, per: 'trace' })
    await trail.trace('loop', async (trace) => {
      expect(await untilRefused(stream)).toBe(5)
      withinOneCall(await trace.costUsd(), limit, one)
      const error = await chat.chat.completions.create(HI).catch((error: unknown) => error)
      expect(error).toMatchObject({
        name: 'BudgetExceeded',
        code: 'budget_exceeded',
        per: 'trace',
        id: trace.traceId,
        limitUsd: expect.closeTo(limit, 12),
        spentUsd: expect.closeTo((await trace.costUsd()) ?? 0, 12),
        underWayUsd: 0,
      })
    })
    await trail.trace('another', () => call(stream))
    await trail.flush(10_000)
    // What was refused was not sent, and is no event.
    expect((await server.calls()).length).toBe(7)
    const events = await server.events()
    expect(events.filter(({ event }) => event === '$ai_generation').length).toBe(7)
  })

  it.each([false, true])('stops loops side by side at the limit (stream: %s)', async (stream) => {
    const one = await costOfOne()
    const limit = 20.5 * one
    trail.budget({ usd: limit, per: 'user' })
    await trail.options({ distinctId: 'ann' }, () =>
      Promise.all(Array.from({ length: 6 }, () => untilRefused(stream))),
    )
    withinOneCall((await trail.totals({ distinctId: 'ann' })).costUsd, limit, one)
  })

  it('does not give the last cent to all calls that begin at once', async () => {
    const one = await costOfOne()
    trail.budget({ usd: 3.5 * one, per: 'trace' })
    const results = await trail.trace('burst', () =>
      Promise.allSettled(Array.from({ length: 30 }, () => call(false))),
    )
    const refused = results.filter((result) => result.status === 'rejected')
    expect(refused.length).toBe(26)
    for (const { reason } of refused) expect(reason).toBeInstanceOf(BudgetExceeded)
  })

  it('holds for copies that a client makes of itself, and is not tried again', async () => {
    trail.budget({ usd: 0 })
    const copy = chat.withOptions({ maxRetries: 5 })
    await expect(copy.responses.create({ model: 'gpt-5-mini', input: 'hi' })).rejects.toBeInstanceOf(
      BudgetExceeded,
    )
    await expect(copy.chat.completions.create(HI).asResponse()).rejects.toBeInstanceOf(BudgetExceeded)
    expect(trail.stats().notes.budget_refused).toBe(2)
    expect(await server.calls()).toEqual([])
  })

  it('does not stand in the way of a retry', async () => {
    const one = await costOfOne()
    trail.budget({ usd: 1.5 * one, per: 'trace' })
    const baseURL = `${server.url}/knobs/status=503,times=1,retry-after-ms=1/v1`
    for (let n = 0; n < 3; n++) {
      await trail.trace('retried', () => chat.withOptions({ baseURL }).chat.completions.create(HI))
    }
  })

  it('warns once and lets calls go on, and can be taken back', async () => {
    const budget: Budget = trail.budget({ usd: '0.0000001', per: 'session', action: 'warn' })
    await trail.session('chat-1', async () => {
      for (let n = 0; n < 4; n++) {
        await call(false)
        await trail.totals()
      }
    })
    expect(trail.stats().notes).toEqual({ budget_exceeded: 1 })
    budget.remove()
    await trail.session('chat-2', async () => {
      await call(false)
      await trail.totals()
      await call(false)
    })
    expect(trail.stats().notes).toEqual({ budget_exceeded: 1 })
  })

  it('is asked by an observed fetch', async () => {
    trail.budget({ usd: 0 })
    const body = JSON.stringify(HI)
    await expect(
      trail.fetch('https://api.openai.com/v1/chat/completions', { method: 'POST', body }),
    ).rejects.toBeInstanceOf(BudgetExceeded)
  })
})

const WORKER = `
import { BudgetExceeded, Client } from 'llmtrail'
import OpenAI from 'openai'
const [url, usd, dir] = process.argv.slice(1)
const trail = new Client({ dir })
trail.budget({ usd, per: 'day' })
const chat = trail.wrap(new OpenAI({ apiKey: 'sk-test', baseURL: url + '/v1' }), { provider: 'openai' })
await new Promise((done) => process.stdin.once('data', done))
process.stdin.destroy()
try {
  for (let n = 0; n < 100; n++) await chat.chat.completions.create(${JSON.stringify(HI)})
} catch (error) {
  if (!(error instanceof BudgetExceeded)) throw error
  console.log((await trail.totals()).calls)
}
await trail.shutdown(10_000)
`

describe('processes', () => {
  it('share a budget through the local store', async () => {
    const limit = 30.5 * (await costOfOne())
    const dir = folder()
    const start = () => {
      const args = ['--input-type=module', '-e', WORKER, server.url, limit.toFixed(9), dir]
      const worker = spawn(process.execPath, args, {
        cwd: import.meta.dirname,
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      const said = text(worker.stdout)
      return {
        go: () => worker.stdin.end('go'),
        calls: async () => Number((await said).trim() || Number.NaN),
      }
    }
    const workers = [start(), start(), start()]
    for (const worker of workers) worker.go()
    const calls = await Promise.all(workers.map((worker) => worker.calls()))
    const all = calls.reduce((sum, calls) => sum + calls, 0)
    // Each sees what the others spent a moment later.
    expect(all).toBeGreaterThanOrEqual(31)
    expect(all).toBeLessThanOrEqual(31 + 12)
    const late = start()
    late.go()
    expect(await late.calls()).toBe(0)
  }, 60_000)
})

/** What there is to see of a refusal, where an SDK does not pass it on as it is. */
const WRAPPED: Record<string, [name: string, says: boolean]> = {
  '@mistralai/mistralai 2.7.0': ['UnexpectedClientError', true],
  '@mistralai/mistralai 1.3.6': ['UnexpectedClientError', true],
  'cohere-ai 8.1.0': ['CohereError', true],
  'cohere-ai 8.0.1': ['CohereError', false],
}

const CASES: Record<string, [call: string, name: string]> = {
  openai: ['chat.completions.create', 'openai_chat/plain'],
  anthropic: ['messages.create', 'anthropic_messages/plain_text'],
  'anthropic-bedrock': ['messages.create', 'bedrock_invoke/plain'],
  'anthropic-vertex': ['messages.create', 'vertex_anthropic/raw_predict'],
  google: ['models.generate_content', 'gemini_generate/plain'],
  mistral: ['chat.complete', 'openai_chat/plain'],
  groq: ['chat.completions.create', 'openai_chat/plain'],
  cohere: ['chat', 'cohere_chat/plain'],
  ollama: ['chat', 'ollama_chat/plain'],
  bedrock: ['converse', 'bedrock_converse/plain'],
}

describe.each(Object.values(SDKS).flat())('a refusal in $name $version', (sdk) => {
  it('is no call, and what was reserved for one is let go', async () => {
    const [name, plain] = CASES[sdk.sdk] ?? ['', '']
    const test = readCase(plain)
    const base = (sdk.http2 ? front : server).case(plain)
    const client = trail.wrap(sdk.client(base, test, { retries: 1 }), { provider: sdk.provider })
    const { signal } = new AbortController()
    const make = () => sdk.call(client, name, test, signal)
    const dearer = trail.budget({ usd: 1000 })
    await make()
    const { costUsd: cost = 0 } = await trail.totals()
    dearer.remove()
    const calls = (await server.calls()).length
    if (cost > 0) {
      // If the first call still counted as under way, the second one could not begin.
      trail.budget({ usd: 1.5 * cost })
      await make()
    }
    trail.budget({ usd: 0 })
    const error = await make().then(
      () => undefined,
      (error: unknown) => error,
    )
    const [kind, says] = WRAPPED[`${sdk.name} ${sdk.version}`] ?? ['BudgetExceeded', true]
    expect([(error as Error)?.constructor?.name, BudgetExceeded.in(error) !== undefined]).toEqual([
      kind,
      says,
    ])
    expect(trail.stats().notes.budget_refused).toBe(1)
    expect((await server.calls()).length).toBe(calls + (cost > 0 ? 1 : 0))
  })
})
