// Tool calls and their results become spans: the scenarios that all three languages read.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Ingestion, ingestion, pause } from './servers.ts'

interface Scenario {
  shows: string
  url: string
  turns: { request: unknown; response: unknown }[]
  spans: Record<string, unknown>[]
  by_hand?: string[]
  privacy?: boolean
  off?: boolean
  apart?: boolean
}

const SCENARIOS: Scenario[] = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../tests/scenarios/tool_spans.json'), 'utf8'),
)

let server: Ingestion
beforeAll(async () => {
  server = await ingestion()
})
afterAll(() => server.close())

it.each(SCENARIOS)('$shows', async ({ url, turns, spans, by_hand = [], privacy, off, apart }) => {
  const client = server.client({ toolSpans: !off })
  const answers = turns.map((turn) => JSON.stringify(turn.response))
  const headers = { 'content-type': 'application/json' }
  const inner = globalThis.fetch
  globalThis.fetch = async () => new Response(answers.shift(), { headers })
  let traceId: string | undefined
  try {
    await client.trace('agent', { ...(privacy && { privacy }) }, async (agent) => {
      traceId = agent.traceId
      for (const [n, { request }] of turns.entries()) {
        const call = async () => {
          const body = JSON.stringify(request)
          await (await client.fetch(url, { method: 'POST', headers, body })).text()
          await pause(15)
        }
        await (apart ? client.trace('another', call) : call())
        if (n === 0) {
          await agent.usage()
          for (const name of by_hand) client.span(name, { type: 'tool' }, () => {})
        }
      }
    })
  } finally {
    globalThis.fetch = inner
  }
  await client.shutdown(10_000)
  const events = server.events.splice(0).filter(({ event }) => event === '$ai_span')
  const seen = events.slice(by_hand.length).map(({ properties }) => properties)
  const shown = seen.map((p) => ({
    name: p.$ai_span_name,
    input: p.$ai_input_state,
    output: p.$ai_output_state,
    ...('$ai_tool_call_id' in p && { id: p.$ai_tool_call_id }),
    ...('$ai_is_error' in p && { error: p.$ai_is_error }),
  }))
  expect(shown).toEqual(spans)
  for (const p of seen) {
    expect(p).toMatchObject({ $ai_span_type: 'tool', $ai_trace_id: traceId, $ai_parent_id: traceId })
    expect(p.$ai_latency).toBeGreaterThanOrEqual(0.005)
    expect(p.$ai_latency).toBeLessThan(5)
  }
})
