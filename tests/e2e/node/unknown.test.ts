// What no decoder reads: JSON to a known host is recorded as unknown, anything else is left alone.
import Anthropic from '@anthropic-ai/sdk'
import { Client } from 'llmtrail'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { folder, Loopback, readCase } from './loopback.ts'
import { openais } from './sdks.ts'

const MODERATION = 'unknown/openai_moderation'
const ASK = { model: 'omni-moderation-latest', input: 'I want to hug them.' }

let server: Loopback
let trail: Client
beforeAll(async () => {
  server = await Loopback.start()
})
afterEach(async () => {
  trail.uninstrument()
  await trail.shutdown(10_000)
  expect(trail.stats().notes.observer).toBeUndefined()
  await server.reset()
})
afterAll(() => server.close())

/** A client that knows the server as OpenAI's, or as nobody. */
const trailed = (known = true): Client => {
  const hosts = known ? { [server.url.slice('http://'.length)]: 'openai' } : {}
  trail = new Client({ apiKey: 'phc_test', host: server.url, dir: folder(), flushInterval: 60_000, hosts })
  return trail
}

describe.each(openais)('%s', (_, OpenAI) => {
  const open = (base: string) => new OpenAI({ apiKey: 'sk-test-key', maxRetries: 0, baseURL: `${base}/v1` })

  it.each(['wrap', 'instrument'])(
    'JSON of a format that is not read is recorded as unknown: %s',
    async (how) => {
      const client = trailed() && open(server.case(MODERATION))
      if (how === 'wrap') trail.wrap(client)
      else trail.instrument()
      const answer = await client.moderations.create(ASK)
      // The caller's own result.
      expect(answer.results[0]?.flagged).toBe(false)
      const { captured, delivered, pending } = await trail.flush(10_000)
      expect({ captured, pending }).toEqual({ captured: delivered, pending: 0 })
      const [event, ...more] = await server.events()
      expect(more).toEqual([])
      const { $ai_request_url, $ai_base_url, ...expected } = readCase(MODERATION).expected.properties
      expect(event?.properties).toMatchObject(expected)
      expect(event?.properties.$ai_latency).toBeGreaterThan(0)
      // Nothing that would be a guess.
      for (const name of ['$ai_input', '$ai_input_tokens', '$ai_stop_reason'])
        expect(event?.properties).not.toHaveProperty(name)
    },
  )

  it('what is no call is left alone', async () => {
    const client = trailed().wrap(open(server.url))
    const file = new File(['{}'], 'a.jsonl')
    await expect(client.files.create({ file, purpose: 'batch' })).rejects.toThrow()
    const batch = { input_file_id: 'f', endpoint: '/v1/chat/completions', completion_window: '24h' } as const
    await expect(client.batches.create(batch)).rejects.toThrow()
    const baseURL = server.case('unknown/left_alone_count_tokens')
    const other = trail.wrap(new Anthropic({ apiKey: 'sk-test-key', maxRetries: 0, baseURL }))
    const messages = [{ role: 'user' as const, content: 'Hi' }]
    expect((await other.messages.countTokens({ model: 'claude-haiku-4-5', messages })).input_tokens).toBe(8)
    expect(await trail.flush(10_000)).toMatchObject({ captured: 0 })
    expect(await server.events()).toEqual([])
  })

  it('a host that nobody knows is left alone, whatever the client is named for', async () => {
    const client = trailed(false).wrap(open(server.case(MODERATION)), { provider: 'openai' })
    await client.moderations.create(ASK)
    expect(await trail.flush(10_000)).toMatchObject({ captured: 0 })
    expect(await server.events()).toEqual([])
  })

  it.each([
    ['https://llm.corp.example/team/v1', 'llm.corp.example'],
    ['http://my-gateway:8080/v1', 'local'],
  ])('a gateway of one’s own speaks the format of the path: %s', async (baseURL, provider) => {
    // biome-ignore lint/suspicious/noExplicitAny: as it comes from the corpus
    const { response, expected, request }: any = readCase('openai_chat/plain')
    const fetch = async () => new Response(response, { headers: { 'content-type': 'application/json' } })
    const client = new OpenAI({ apiKey: 'sk-test-key', maxRetries: 0, baseURL, fetch })
    await trailed(false).wrap(client).chat.completions.create(request)
    await trail.flush(10_000)
    const [event, ...more] = await server.events()
    expect(more).toEqual([])
    expect(event?.properties).toMatchObject({ $ai_provider: provider, $ai_base_url: baseURL })
    for (const name of ['$ai_model', '$ai_input_tokens', '$ai_output_tokens', '$ai_output_choices'])
      expect(event?.properties[name]).toEqual(expected.properties[name])
  })
})
