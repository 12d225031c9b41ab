// The user's own transports and mocks go on working, and what they answer is recorded.
import { flush, init, instrument, shutdown, stats, uninstrument, wrap } from 'llmtrail'
import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import OpenAI from 'openai'
import { Agent, getGlobalDispatcher, MockAgent, setGlobalDispatcher } from 'undici'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { folder, Loopback, readCase } from './loopback.ts'

const PLAIN = readCase('openai_chat/plain')
const CHAT = 'https://api.openai.com'
const KEY = { apiKey: 'sk-test-key', maxRetries: 0 }

let server: Loopback
beforeAll(async () => {
  server = await Loopback.start()
})
afterAll(() => server.close())
afterEach(async () => {
  uninstrument()
  expect(stats().notes.observer).toBeUndefined()
  await shutdown(5000)
  await server.reset()
})

function begin(way: string, make: () => OpenAI): OpenAI {
  init({ apiKey: 'phc_test', host: server.url, dir: folder(), flushInterval: 60_000 })
  // A mock answers in place of what is below `fetch`, so a client that has kept one is not seen there.
  if (way === 'instrument()') instrument()
  const client = make()
  return way === 'wrap' ? wrap(client) : client
}

/** The one call is recorded, and its caller has its answer. */
async function once(client: OpenAI): Promise<void> {
  const answer = await client.chat.completions.create(PLAIN.request as never)
  expect(answer).toMatchObject(JSON.parse(PLAIN.response))
  await flush(5000)
  const events = await server.events()
  expect(events.map(({ properties }) => properties.$ai_output_choices)).toEqual([
    PLAIN.expected.properties.$ai_output_choices,
  ])
  expect(events[0]?.properties.$ai_input).toEqual(PLAIN.expected.properties.$ai_input)
}

describe.each(['wrap', 'instrument()'])('%s', (way) => {
  it('msw', async () => {
    const mocks = setupServer(
      http.post(`${CHAT}/v1/chat/completions`, () => HttpResponse.json(JSON.parse(PLAIN.response))),
    )
    mocks.listen({ onUnhandledRequest: 'bypass' })
    try {
      await once(begin(way, () => new OpenAI(KEY)))
    } finally {
      mocks.close()
    }
  })

  it("undici's MockAgent", async () => {
    const before = getGlobalDispatcher()
    const agent = new MockAgent()
    agent.disableNetConnect()
    agent.enableNetConnect(new URL(server.url).host)
    agent
      .get(CHAT)
      .intercept({ path: '/v1/chat/completions', method: 'POST' })
      .reply(200, PLAIN.response, { headers: { 'content-type': 'application/json' } })
    setGlobalDispatcher(agent)
    try {
      await once(begin(way, () => new OpenAI(KEY)))
    } finally {
      setGlobalDispatcher(before)
    }
  })

  it('an agent of undici, with few connections', async () => {
    const dispatcher = new Agent({ connections: 2 })
    const base = `${server.case('openai_chat/plain')}/v1`
    const options = { ...KEY, baseURL: base, fetchOptions: { dispatcher } as object }
    const made = new OpenAI(options)
    const client = begin(way, () => made)
    const asked = Array.from({ length: 12 }, () => client.chat.completions.create(PLAIN.request as never))
    await Promise.all(asked)
    await flush(5000)
    const events = await server.events()
    // Those that waited for a connection, and were asked before the process was observed, are each one event too.
    expect(events).toHaveLength(12)
    await dispatcher.close()
  })
})
