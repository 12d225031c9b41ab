// Responses in the background: one event, whichever client and scope sees the end.
import { Client } from 'llmtrail'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { folder, Loopback } from './loopback.ts'
import { openais } from './sdks.ts'

const QUESTION = 'Where is my order?'
const ASK = { model: 'gpt-5.1', input: QUESTION, background: true as const }
const TEMPORARY = folder()

let server: Loopback
let trail: Client
beforeAll(async () => {
  server = await Loopback.start()
})
afterEach(async () => {
  await trail.shutdown(10_000)
  expect(trail.stats().notes.observer).toBeUndefined()
  await server.reset()
})
afterAll(() => server.close())

/** As `output_text`, which the older ones have only on what they created. */
const textOf = ({ output }: { output: unknown[] }) =>
  (output as { content?: { text: string }[] }[]).find(({ content }) => content)?.content?.[0]?.text

describe.each(openais)('%s', (_, OpenAI) => {
  const trailed = () => {
    trail = new Client({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000 })
    return trail
  }
  const open = (knobs = '') => {
    const baseURL = `${server.url}${knobs && `/knobs/${knobs}`}/v1`
    const client = new OpenAI({ apiKey: 'sk-test-key', maxRetries: 0, baseURL })
    return trail.wrap(client, { provider: 'openai' })
  }
  const one = async () => {
    const { captured, pending, delivered } = await trail.flush(10_000)
    expect({ captured, pending }).toEqual({ captured: delivered, pending: 0 })
    const events = (await server.events()).filter((event) => event.event === '$ai_generation')
    expect(events).toHaveLength(1)
    return events[0]?.properties ?? {}
  }

  it('is one event, whichever client sees the end', async () => {
    const [first, second] = [trailed() && open(), open()]
    let id: string | undefined
    let answer = await trail.trace('ask', (trace) => {
      id = trace.traceId
      return first.responses.create(ASK)
    })
    expect(answer.status).toBe('queued')
    let polls = 0
    while (answer.status !== 'completed') {
      answer = await second.responses.retrieve(answer.id)
      polls++
    }
    expect(polls).toBe(2)
    await second.responses.retrieve(answer.id)
    const properties = await one()
    expect(properties).toMatchObject({
      $ai_trace_id: id,
      $ai_input: [{ role: 'user', content: QUESTION }],
      $ai_output_choices: [{ role: 'assistant', content: [{ type: 'text', text: textOf(answer) }] }],
      $ai_stop_reason: 'completed',
      $ai_model: 'gpt-5.1-2025-11-13',
      $ai_stream: false,
    })
    expect(properties.$ai_total_cost_usd).toBeGreaterThan(0)
  })

  it('is taken up again where its stream broke', async () => {
    const [first, second] = [trailed() && open('cut=5'), open()]
    const seen: { sequence_number: number; response?: { id: string } }[] = []
    await expect(async () => {
      for await (const event of await first.responses.create({ ...ASK, stream: true }))
        seen.push(event as never)
    }).rejects.toThrow()
    const responses = second.responses as never as {
      retrieve(id: string, query: object): Promise<AsyncIterable<(typeof seen)[number]>>
    }
    const query = { stream: true, starting_after: seen.at(-1)?.sequence_number }
    for await (const event of await responses.retrieve(String(seen[0]?.response?.id), query)) seen.push(event)
    expect(seen.map((event) => event.sequence_number)).toEqual(seen.map((_, at) => at))
    expect(await one()).toMatchObject({
      $ai_stream: true,
      $ai_stream_status: 'complete',
      $ai_stop_reason: 'completed',
    })
  })

  it('loses nothing to a flush in between', async () => {
    const client = trailed() && open()
    let answer = await client.responses.create(ASK)
    while (answer.status !== 'completed') {
      expect(await trail.flush(10_000)).toMatchObject({ delivered: 0, pending: 1 })
      answer = await client.responses.retrieve(answer.id)
    }
    expect(await one()).toMatchObject({ $ai_stop_reason: 'completed', $ai_tokens_source: 'provider' })
  })

  it('ends when it is cancelled, and is sent as it is at the end when it never ends', async () => {
    const client = trailed() && open()
    const cancelled = await client.responses.create(ASK)
    const responses = client.responses as never as { cancel?(id: string): Promise<{ status: string }> }
    if (responses.cancel) {
      expect((await responses.cancel(cancelled.id)).status).toBe('cancelled')
      expect(await one()).toMatchObject({ $ai_stop_reason: 'cancelled', $ai_output_choices: [] })
      await server.reset()
    }
    const endless = await client.responses.create({ ...ASK, input: 'And the other one?' })
    await trail.flush(10_000)
    expect(await server.events()).toEqual([])
    expect(await trail.shutdown(10_000)).toMatchObject({ pending: 0 })
    const events = await server.events()
    expect(events.at(-1)?.properties).toMatchObject({
      $ai_response_id: endless.id,
      $ai_tokens_source: 'absent',
    })
  })
})
