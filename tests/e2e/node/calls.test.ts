// Every case of the corpus as a call of the real SDK, and the event that it gives. See ../README.md.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Client } from 'llmtrail'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { calls, type Event, Front, folder, Loopback, readCase, rules } from './loopback.ts'
import { SDKS } from './sdks.ts'

/** What a call through an SDK has otherwise than the recorded exchange: its address, and what follows from it. */
const OTHERWISE = new Set([...rules.volatile, '$ai_base_url', '$ai_request_url', '$ai_provider', 'case'])
const COST = new RegExp(rules.cost)

const TEMPORARY = folder()

/** What these SDKs make of an answer depends on how its pieces arrive: they have to come apart. */
const ONE_BY_ONE = new Set(['gemini_generate/stream_error_bare_json'])

let server: Loopback
let front: Front
let events: Map<string, Event>
const seen = new Map<string, string[]>()

/** Makes one call, observed if there is a trail; says what the caller saw. */
async function make(call: (typeof calls)[number], trail?: Client): Promise<string[]> {
  const [sdk] = SDKS[call.sdk] ?? []
  if (!sdk) throw new Error(`${call.sdk} is not driven here`)
  const test = readCase(call.case)
  const knobs = ONE_BY_ONE.has(call.case) ? 'delay-ms=50' : ''
  const base = (sdk.http2 ? front : server).case(call.case, knobs)
  const client = sdk.client(base, test, { silent: test.about.end === 'timeout' })
  if (trail) expect(trail.wrap(client, { provider: test.about.provider ?? sdk.provider })).toBe(client)
  const items: string[] = []
  const leaving = new AbortController()
  const run = async () => {
    try {
      const answer = await sdk.call(client, call.call, test, leaving.signal)
      if (!answer?.[Symbol.asyncIterator]) {
        items.push(JSON.stringify(answer))
        return
      }
      for await (const item of answer) {
        items.push(JSON.stringify(item))
        if (test.about.end !== 'abandoned' || items.length < test.items) continue
        sdk.leave?.(answer)
        break
      }
      // Some go on reading when they are left.
      if (test.about.end === 'abandoned') leaving.abort()
    } catch (error) {
      items.push(String(error))
    }
  }
  if (!trail) await run()
  else await trail.trace('e2e', { properties: { case: call.name }, distinctId: 'e2e' }, run)
  return items
}

beforeAll(async () => {
  server = await Loopback.start()
  front = await Front.start(server)
  const trail = new Client({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000 })
  for (const call of calls) seen.set(call.name, await make(call, trail))
  // Some SDKs leave a stream that broke as it is: it is recorded when it is collected, or, where its connection still holds
  // it, at the shutdown. Each call is in a trace.
  for (let i = 0; i < 50 && trail.stats().captured < 2 * calls.length; i++) {
    global.gc?.()
    await new Promise((done) => setTimeout(done, 20))
  }
  const report = await trail.shutdown(30_000)
  expect(report.captured).toBe(report.delivered)
  expect(trail.stats().notes.observer).toBeUndefined()
  const all = (await server.events()).filter(({ event }) => event !== '$ai_trace')
  events = new Map(
    all.map(({ event, distinct_id, uuid, timestamp, properties }) => [
      properties.case,
      { event, distinct_id, uuid, timestamp, properties },
    ]),
  )
  expect(calls.map(({ name }) => name).filter((name) => !events.has(name))).toEqual([])
  expect(all).toHaveLength(calls.length)
  const out = process.env.LLMTRAIL_E2E_OUT
  if (out) {
    mkdirSync(dirname(out), { recursive: true })
    writeFileSync(out, JSON.stringify(Object.fromEntries(events), undefined, 1))
  }
})
afterAll(() => {
  front.close()
  server.close()
})

function normal(properties: Record<string, unknown>) {
  return Object.fromEntries(
    Object.entries(properties).filter(([name]) => !OTHERWISE.has(name) && !COST.test(name)),
  )
}

describe.each(calls.map((call) => [call.name, call] as const))('%s', (name, call) => {
  it('gives the event of the corpus', () => {
    const { expected } = readCase(call.case)
    const event = events.get(name)
    expect(event?.event).toBe(expected.event)
    const properties = { ...expected.properties }
    // A server cannot play these.
    if (['connection_refused', 'dns'].includes(String(properties.$ai_error_type))) {
      properties.$ai_error_type = 'connection_cut'
      properties.$ai_error = 'Connection closed before the response was complete'
    }
    expect(normal(event?.properties ?? {})).toEqual(normal(properties))
  })

  it('shows the caller what it would see without us', async () => {
    // Some recorded streams say that they have no usage though nobody asked: with usage asked for that is taken out.
    // The date is the server's.
    const told = (items: string[] | undefined) =>
      items?.map((item) => item.replace(',"usage":null', '').replace(/"date":"[^"]*"/, ''))
    expect(told(seen.get(name))).toEqual(told(await make(call)))
  })
})
