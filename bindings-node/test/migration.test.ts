// What is said with PostHog's words is told as it was there: the rows that all three languages read.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { ingestion, provider } from './servers.ts'

interface Row {
  there: string
  options: {
    distinct_id?: string
    trace_id?: string
    properties?: Record<string, unknown>
    groups?: Record<string, unknown>
    privacy?: boolean
  }
  event: Record<string, unknown>
  distinct_id?: string
}

const FILE = join(import.meta.dirname, '../../tests/scenarios/migration.json')
const { request, response, rows } = JSON.parse(readFileSync(FILE, 'utf8')) as {
  request: object
  response: object
  rows: Row[]
}

const server = await ingestion()
const openai = await provider((_, answer) =>
  answer.setHeader('content-type', 'application/json').end(JSON.stringify(response)),
)
const client = server.client({ hosts: { [openai.authority]: 'openai' } })
afterAll(async () => {
  await client.shutdown(2000)
  server.close()
  openai.close()
})

it.each(rows)('$there', async ({ options, event: expected, distinct_id }) => {
  const { distinct_id: distinctId, trace_id: traceId, ...others } = options
  const call = async () => {
    await (await client.fetch(openai.chat, { method: 'POST', body: JSON.stringify(request) })).text()
  }
  if (traceId) await client.trace('t', { traceId, ...others }, call)
  else await client.options({ ...(distinctId && { distinctId }), ...others }, call)
  await client.flush(5000)
  const event = server.events.splice(0).find(({ event }) => event === '$ai_generation')
  expect(event?.properties).toMatchObject(expected)
  expect(event?.distinct_id).toBe(distinct_id ?? event?.properties.$ai_trace_id)
})
