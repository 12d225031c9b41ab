// nock answers in place of `node:http` and of `fetch`, in a process of its own: it and msw take the same things over.
import { flush, init, instrument, shutdown, uninstrument, wrap } from 'llmtrail'
import nock from 'nock'
import OpenAI from 'openai'
import OpenAI4 from 'openai-4'
import { afterAll, expect, it } from 'vitest'
import { folder, Loopback, readCase } from './loopback.ts'

const PLAIN = readCase('openai_chat/plain')
const server = await Loopback.start()
afterAll(() => server.close())

it.each(['wrap', 'instrument()'])('%s', async (way) => {
  init({ apiKey: 'phc_test', host: server.url, dir: folder(), flushInterval: 60_000 })
  if (way !== 'wrap') instrument()
  // Its requests are none of Node's, so what is below `fetch` sees nothing of them.
  const SDK = way === 'wrap' ? (OpenAI4 as unknown as typeof OpenAI) : OpenAI
  const client = new SDK({ apiKey: 'sk-test-key', maxRetries: 0 })
  if (way === 'wrap') wrap(client)
  const mocked = nock('https://api.openai.com')
    .post('/v1/chat/completions')
    .reply(200, JSON.parse(PLAIN.response))
  const answer = await client.chat.completions.create(PLAIN.request as never)
  expect(answer).toMatchObject(JSON.parse(PLAIN.response))
  mocked.done()
  await flush(5000)
  const events = await server.events()
  expect(events.map(({ properties }) => properties.$ai_output_choices)).toEqual([
    PLAIN.expected.properties.$ai_output_choices,
  ])
  uninstrument()
  await shutdown(5000)
  await server.reset()
})
