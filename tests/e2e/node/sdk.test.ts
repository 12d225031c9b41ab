// What the SDKs offer around a plain call, on every generation of them that this Node runs.
import { Client, type Fetch } from 'llmtrail'
import { zodResponseFormat } from 'openai/helpers/zod'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type Event, folder, Loopback, readCase } from './loopback.ts'
import { AzureOpenAI, anthropics, openais } from './sdks.ts'

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

async function sent(): Promise<Event[]> {
  await trail.flush(10_000)
  return server.events()
}

const CHAT = 'openai_chat/stream_observer_asked_usage'
const HI = { model: 'gpt-5-mini', messages: [{ role: 'user' as const, content: 'hi' }] }
const key = { apiKey: 'sk-test-key', maxRetries: 0 }
const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms))

function observed() {
  trail = new Client({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000 })
  return trail
}

describe.each(openais)('%s', (_, OpenAI) => {
  const client = (name: string, knobs?: string, more: object = {}) => {
    const made = new OpenAI({ ...key, baseURL: `${server.case(name, knobs)}/v1`, ...more })
    expect(observed().wrap(made, { provider: 'openai' })).toBe(made)
    expect(made).toBeInstanceOf(OpenAI)
    return made
  }
  /** The request of a case, for a method whose types are of one generation. */
  // biome-ignore lint/suspicious/noExplicitAny: as it comes from the corpus
  const request = (name: string): any => readCase(name).request
  const expected = (name: string) => readCase(name).expected.properties

  it('gives raw responses, and what is parsed with them', async () => {
    const openai = client('openai_chat/plain')
    const raw = await openai.chat.completions.create(request('openai_chat/plain')).asResponse()
    expect(raw).toBeInstanceOf(Response)
    expect(raw.url).toContain('/chat/completions')
    expect(await raw.json()).toEqual(JSON.parse(readCase('openai_chat/plain').response))
    const both = await openai.chat.completions.create(request('openai_chat/plain')).withResponse()
    expect(both.response.status).toBe(200)
    const events = await sent()
    expect(events.map((event) => event.properties.$ai_output_choices)).toEqual([
      expected('openai_chat/plain').$ai_output_choices,
      expected('openai_chat/plain').$ai_output_choices,
    ])
  })

  it('has helpers that stream', async () => {
    const openai = client(CHAT)
    const helper = (
      openai.chat.completions as never as {
        stream(body: object): AsyncIterable<unknown> & { finalContent(): Promise<string> }
      }
    ).stream(request(CHAT))
    let chunks = 0
    for await (const _ of helper) chunks++
    expect(chunks).toBeGreaterThan(0)
    const [event] = await sent()
    expect(event?.properties).toMatchObject({
      $ai_output_choices: expected(CHAT).$ai_output_choices,
      $ai_input_tokens: expected(CHAT).$ai_input_tokens,
      $ai_stream_status: 'complete',
    })
  })

  it('parses structured output', async () => {
    const openai = client('openai_chat/structured_output_annotations')
    const format = zodResponseFormat(z.strictObject({}), 'answer')
    const parse = (openai.chat.completions as never as { parse(body: object): Promise<unknown> }).parse
    await parse
      .call(openai.chat.completions, {
        ...request('openai_chat/structured_output_annotations'),
        response_format: format,
      })
      .catch(() => {})
    expect(await sent()).toHaveLength(1)
  })

  it('has copies that stay observed', async () => {
    const openai = client('openai_chat/plain')
    const copy = openai.withOptions({ timeout: 5000 }).withOptions({ maxRetries: 1 })
    await copy.chat.completions.create(request('openai_chat/plain'))
    const plain = new OpenAI({ ...key, baseURL: `${server.case('openai_chat/plain')}/v1` })
    const twin = trail.wrap(plain, { copy: true })
    expect(twin).not.toBe(plain)
    expect(twin).toBeInstanceOf(OpenAI)
    await twin.chat.completions.create(request('openai_chat/plain'))
    await plain.chat.completions.create(request('openai_chat/plain'))
    expect(await sent()).toHaveLength(2)
  })

  it('lets the fetch of the user do the work', async () => {
    const worked: string[] = []
    const own: Fetch = async (input, init) => {
      worked.push(String(input))
      const response = await fetch(input, init)
      expect(response.headers.get('content-type')).toBeTruthy()
      return response
    }
    const openai = client('openai_chat/plain', undefined, { fetch: own })
    await openai.chat.completions.create(request('openai_chat/plain'))
    expect(worked).toHaveLength(1)
    expect(await sent()).toHaveLength(1)
  })

  it('retries, which is one call', async () => {
    const openai = client('openai_chat/plain', 'status=503,times=2,retry-after-ms=5', { maxRetries: 3 })
    await openai.chat.completions.create(request('openai_chat/plain'))
    const [event, ...more] = await sent()
    expect(more).toEqual([])
    expect(event?.properties).toMatchObject({ $ai_retries: 2, $ai_http_status: 200 })
    expect(event?.properties.$ai_is_error).toBeUndefined()
  })

  it('gives up after its retries', async () => {
    const openai = client('openai_chat/plain', 'status=503,times=9,retry-after-ms=5', { maxRetries: 1 })
    await expect(openai.chat.completions.create(request('openai_chat/plain'))).rejects.toMatchObject({
      status: 503,
    })
    const [event, ...more] = await sent()
    expect(more).toEqual([])
    expect(event?.properties).toMatchObject({ $ai_retries: 1, $ai_http_status: 503, $ai_is_error: true })
  })

  it('is told from its own time limit when the caller aborts', async () => {
    const openai = client('openai_chat/plain', 'head-delay-ms=3000')
    const stop = new AbortController()
    const waiting = openai.chat.completions.create(request('openai_chat/plain'), { signal: stop.signal })
    setTimeout(() => stop.abort(), 50)
    await expect(waiting).rejects.toThrow(/abort/)
    await expect(openai.chat.completions.create(HI, { timeout: 60 })).rejects.toThrow(/timed out/)
    const events = await sent()
    expect(events.map((event) => event.properties.$ai_error_type)).toEqual(['cancelled', 'timeout'])
  })

  it('is left early', async () => {
    const openai = client(CHAT, 'delay-ms=20')
    const stream = (await openai.chat.completions.create(
      request(CHAT),
    )) as unknown as AsyncIterable<object> & {
      controller: AbortController
    }
    for await (const _ of stream) break
    const other = (await openai.chat.completions.create(request(CHAT))) as unknown as typeof stream
    for await (const _ of other) other.controller.abort()
    const events = await sent()
    expect(events.map((event) => event.properties.$ai_stream_status)).toEqual(['abandoned', 'abandoned'])
  })

  it('is never read', async () => {
    const openai = client(CHAT)
    await (async () => {
      await openai.chat.completions.create(request(CHAT))
    })()
    for (let i = 0; i < 100 && trail.stats().captured === 0; i++) {
      global.gc?.()
      await pause(20)
    }
    const [event] = await sent()
    expect(event?.properties.$ai_stream_status).toBe('abandoned')
  })

  it.each([
    ['', ''],
    ['pieces of 7 bytes', 'chunk=7,delay-ms=1'],
    ['cut', 'cut=3'],
    ['compressed', 'gzip=1'],
  ])('reads the same bytes with and without: %s', async (_, knobs) => {
    const read = async (openai: InstanceType<typeof OpenAI>) => {
      const items: string[] = []
      try {
        const stream = await openai.chat.completions.create(request(CHAT))
        for await (const item of stream as unknown as AsyncIterable<object>) items.push(JSON.stringify(item))
      } catch (error) {
        items.push(String(error))
      }
      return items
    }
    const base = `${server.case(CHAT, knobs)}/v1`
    const plain = await read(new OpenAI({ ...key, baseURL: base }))
    expect(await read(client(CHAT, knobs))).toEqual(plain)
    await sent()
  })

  it('speaks the other formats too', async () => {
    const openai = client('openai_responses/stream_complete')
    const name = 'openai_responses/stream_complete'
    const responses = openai.responses as never as { stream(body: object): AsyncIterable<unknown> }
    const { stream: _, ...body } = request(name)
    for await (const _ of responses.stream(body));
    const [event] = await sent()
    expect(event?.properties.$ai_output_choices).toEqual(expected(name).$ai_output_choices)
  })
})

it('AzureOpenAI is observed', async () => {
  const { about, request } = readCase('openai_chat/azure')
  const azure = new AzureOpenAI({
    ...key,
    apiVersion: '2024-10-21',
    baseURL: `${server.case('openai_chat/azure')}${new URL(about.url).pathname.replace('/chat/completions', '')}`,
  })
  expect(observed().wrap(azure, { provider: 'azure' })).toBe(azure)
  await azure.chat.completions.create(request as never)
  const [event] = await sent()
  expect(event?.properties).toMatchObject({ $ai_provider: 'azure', $ai_http_status: 200 })
  expect(event?.properties.$ai_request_url).not.toContain('?')
})

describe.each(anthropics)('%s', (_, Anthropic) => {
  const client = (name: string, knobs?: string) => {
    const made = new Anthropic({ ...key, baseURL: server.case(name, knobs) })
    expect(observed().wrap(made, { provider: 'anthropic' })).toBe(made)
    return made
  }
  // biome-ignore lint/suspicious/noExplicitAny: as it comes from the corpus
  const request = (name: string): any => readCase(name).request
  const STREAM = 'anthropic_messages/stream_thinking_tool_use'

  it('is recorded through its helper for streams', async () => {
    const { stream: _, ...body } = request(STREAM)
    const final = await client(STREAM).messages.stream(body).finalMessage()
    expect(final.content.length).toBeGreaterThan(0)
    const [event] = await sent()
    expect(event?.properties).toMatchObject({
      $ai_output_choices: readCase(STREAM).expected.properties.$ai_output_choices,
      $ai_stream_status: 'complete',
    })
  })

  it('is left through its helper', async () => {
    const { stream: _, ...body } = request(STREAM)
    const helper = client(STREAM, 'delay-ms=20').messages.stream(body)
    helper.once('streamEvent', () => helper.abort())
    await expect(helper.done()).rejects.toThrow(/abort/)
    const [event] = await sent()
    expect(event?.properties.$ai_stream_status).toBe('abandoned')
  })

  it('gives raw responses, and copies that stay observed', async () => {
    const name = 'anthropic_messages/plain_text'
    const copy = client(name).withOptions({ timeout: 5000 })
    const raw = await copy.messages.create(request(name)).asResponse()
    expect(await raw.json()).toMatchObject({ type: 'message' })
    const events = await sent()
    expect(events.map((event) => event.properties.$ai_provider)).toEqual(['anthropic'])
  })
})

describe('many at once', () => {
  it('1,000 calls, half of them streams: each its event in its scope, none twice', async () => {
    const [, OpenAI] = openais[0] as (typeof openais)[number]
    const openai = new OpenAI({ ...key, baseURL: `${server.url}/v1`, timeout: 60_000 })
    observed().wrap(openai, { provider: 'openai' })
    const names = Array.from({ length: 1000 }, (_, i) => `user-${i}`)
    await Promise.all(
      names.map((distinctId, i) =>
        trail.trace(distinctId, { distinctId, sessionId: `s-${i}` }, async () => {
          await pause(Math.random() * 50)
          const messages = [{ role: 'user' as const, content: `hello from ${distinctId}` }]
          if (i % 2) await openai.chat.completions.create({ model: 'gpt-5-mini', messages })
          else {
            const stream = await openai.chat.completions.create({
              model: 'gpt-5-mini',
              messages,
              stream: true,
            })
            for await (const _ of stream as unknown as AsyncIterable<object>);
          }
        }),
      ),
    )
    const report = await trail.flush(30_000)
    expect(report).toMatchObject({ captured: 2000, delivered: 2000, pending: 0, dropped: {} })
    const generations = (await server.events()).filter((event) => event.event === '$ai_generation')
    expect(generations).toHaveLength(1000)
    expect(new Set(generations.map((event) => event.uuid)).size).toBe(1000)
    for (const { distinct_id, properties } of generations) {
      expect(properties.$ai_input).toEqual([{ role: 'user', content: `hello from ${distinct_id}` }])
      expect(properties.$ai_session_id).toBe(distinct_id.replace('user', 's'))
      expect(properties.$ai_output_tokens).toBeGreaterThan(0)
    }
    expect(new Set(generations.map((event) => event.distinct_id)).size).toBe(1000)
  }, 120_000)
})
