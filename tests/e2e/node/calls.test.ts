// Every case of the corpus as a call of the real SDK, and the event that it gives. See ../README.md.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Client } from 'llmtrail'
import { Agent } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { calls, type Event, folder, Loopback, readCase, rules } from './loopback.ts'
import { Anthropic, method, OpenAI } from './sdks.ts'

/** What a call through an SDK has otherwise than the recorded exchange: its address, and what follows from it. */
const OTHERWISE = new Set([...rules.volatile, '$ai_base_url', '$ai_request_url', '$ai_provider', 'case'])
const COST = new RegExp(rules.cost)

const impatient = new Agent({ bodyTimeout: 500 })

const TEMPORARY = folder()

let server: Loopback
let events: Map<string, Event>
const seen = new Map<string, string[]>()

/** Makes one call, observed if there is a trail; says what the caller saw. */
async function make(call: (typeof calls)[number], trail?: Client): Promise<string[]> {
  const { about, request, response } = readCase(call.case)
  const silent = about.end === 'timeout'
  const options = {
    apiKey: 'sk-test-key',
    maxRetries: 0,
    timeout: silent ? 500 : 20_000,
    // The time limit of these SDKs ends with the response's head; the one for a silent body is the HTTP stack's.
    ...(silent && { fetchOptions: { dispatcher: impatient } as object }),
  }
  const base = server.case(call.case)
  const client =
    call.sdk === 'openai'
      ? new OpenAI({ ...options, baseURL: `${base}/v1` })
      : new Anthropic({ ...options, baseURL: base })
  if (trail) expect(trail.wrap(client, { provider: about.provider ?? call.sdk })).toBe(client)
  const items: string[] = []
  const recorded = about.end === 'abandoned' ? response.split('data:').length - 1 : undefined
  const run = async () => {
    try {
      const answer = await method(client, call.call)(request)
      if (!answer?.[Symbol.asyncIterator]) {
        items.push(JSON.stringify(answer))
        return
      }
      for await (const item of answer) {
        items.push(JSON.stringify(item))
        if (items.length === recorded) break
      }
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
  const trail = new Client({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000 })
  for (const call of calls) seen.set(call.name, await make(call, trail))
  const report = await trail.shutdown(30_000)
  expect(report.captured).toBe(report.delivered)
  expect(trail.stats().notes.observer).toBeUndefined()
  const all = (await server.events()).filter(
    ({ event }) => event === '$ai_generation' || event === '$ai_embedding',
  )
  expect(all).toHaveLength(calls.length)
  events = new Map(
    all.map(({ event, distinct_id, uuid, timestamp, properties }) => [
      properties.case,
      { event, distinct_id, uuid, timestamp, properties },
    ]),
  )
  const out = process.env.LLMTRAIL_E2E_OUT
  if (out) {
    mkdirSync(dirname(out), { recursive: true })
    writeFileSync(out, JSON.stringify(Object.fromEntries(events), undefined, 1))
  }
})
afterAll(() => server.close())

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
    const told = (items: string[] | undefined) => items?.map((item) => item.replace(',"usage":null', ''))
    expect(told(seen.get(name))).toEqual(told(await make(call)))
  })
})
