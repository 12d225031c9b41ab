import { appendFileSync } from 'node:fs'
import { expect } from 'vitest'
import { type Case, type Event, readCase } from './loopback.ts'

/** What was proven of one call of one SDK: `ok`, or why there is nothing to prove. */
export type Checks = Record<string, string>

/** Adds a row to the table of what is covered, if one is wanted. */
export function cover(sdk: { name: string; version: string }, call: string, checks: Checks): void {
  const file = process.env.LLMTRAIL_COVERAGE
  const { name, version } = sdk
  if (file)
    appendFileSync(file, `${JSON.stringify({ language: 'node', sdk: name, version, call, checks })}\n`)
}

export const SCOPE = { distinctId: 'user-1', sessionId: 'chat-1', properties: { plan: 'pro' } }

/** It is the one event of its call, with the output that the provider gave, in its trace. */
export function recorded(events: Event[], test: Case, traceId: string | undefined): Event {
  const [event, ...more] = events
  expect(more).toEqual([])
  expect(event?.event).toBe(test.expected.event)
  expect(event?.properties.$ai_output_choices).toEqual(test.expected.properties.$ai_output_choices)
  inScope(event, traceId)
  return event as Event
}

export function inScope(event: Event | undefined, traceId: string | undefined): void {
  expect(event).toMatchObject({
    distinct_id: SCOPE.distinctId,
    properties: { $ai_trace_id: traceId, $ai_session_id: SCOPE.sessionId, plan: 'pro' },
  })
}

const TOKENS = [
  '$ai_input_tokens',
  '$ai_output_tokens',
  '$ai_cache_read_input_tokens',
  '$ai_reasoning_tokens',
]

/** Its tokens are those of the provider's answer. */
export function tokens({ properties }: Event, test: Case): string {
  const told = TOKENS.filter((name) => test.expected.properties[name] !== undefined)
  for (const name of TOKENS) expect([name, properties[name]]).toEqual([name, test.expected.properties[name]])
  return told.length > 0 ? 'ok' : 'n/a: the provider reports none'
}

/** Its cost is the sum of its parts, and the one that was worked out by hand where there is one. */
export function cost({ properties }: Event, test: Case): string {
  const details = properties.$ai_cost_details
  if (properties.$ai_total_cost_usd === undefined) {
    expect(details?.reason).toBeTruthy()
    return `n/a: ${details.reason}`
  }
  const parts = Object.values(details.buckets) as { amount: string }[]
  const sum = parts.reduce((sum, { amount }) => sum + Number(amount), 0)
  expect(Number(details.total)).toBeCloseTo(sum, 15)
  expect(properties.$ai_total_cost_usd).toBe(Number(details.total))
  if (test.about.cost) expect(details.total).toBe(test.about.cost.total)
  return 'ok'
}

const ERROR = ['$ai_http_status', '$ai_error_type', '$ai_error', '$ai_input']

/** The provider's error, with its status; without a case that of the loopback server. */
export function error(events: Event[], name: string | undefined, traceId: string | undefined): void {
  const [event, ...more] = events
  expect(more).toEqual([])
  expect(event?.properties.$ai_is_error).toBe(true)
  if (name === undefined) expect(event?.properties.$ai_http_status).toBe(418)
  else {
    const expected = readCase(name).expected.properties
    for (const property of ERROR) {
      expect([property, event?.properties[property]]).toEqual([property, expected[property]])
    }
  }
  inScope(event, traceId)
}
