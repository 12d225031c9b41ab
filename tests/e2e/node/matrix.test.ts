// What each generation of each SDK is proven to give, wrapped and with the whole process observed. A test is a row of
// the table of what is covered.
import { flush, init, instrument, shutdown, stats, trace, uninstrument, wrap } from 'llmtrail'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Event, Front, folder, Loopback, readCase } from './loopback.ts'
import { type Checks, cost, cover, error, recorded, SCOPE, tokens } from './proof.ts'
import { type Any, type Making, SDKS, type Sdk } from './sdks.ts'

/** The cases that show a call. What a call does not have is said why. */
interface Scenario {
  call: string
  plain: string
  /** The call that streams, where that is another. */
  streamed?: string
  stream?: string
  tool?: string
  error?: string
}

const SCENARIOS: Record<string, Scenario[]> = {
  openai: [
    {
      call: 'chat.completions.create',
      plain: 'openai_chat/plain',
      stream: 'openai_chat/stream_observer_asked_usage',
      tool: 'openai_chat/tool_calls_parallel',
      error: 'openai_chat/error_429',
    },
    {
      call: 'responses.create',
      plain: 'openai_responses/plain_text',
      stream: 'openai_responses/stream_complete',
      tool: 'openai_responses/function_calls_two',
      error: 'openai_responses/error_429',
    },
    { call: 'embeddings.create', plain: 'openai_embeddings/plain', error: 'openai_embeddings/error_429' },
  ],
  anthropic: [
    {
      call: 'messages.create',
      plain: 'anthropic_messages/plain_text',
      stream: 'anthropic_messages/stream_text',
      tool: 'anthropic_messages/two_tool_uses',
      error: 'anthropic_messages/error_429',
    },
  ],
  'anthropic-bedrock': [
    {
      call: 'messages.create',
      plain: 'bedrock_invoke/plain',
      stream: 'bedrock_invoke/stream_text',
      tool: 'bedrock_invoke/stream_tool_use',
      error: 'bedrock_invoke/error_403_stream',
    },
  ],
  'anthropic-vertex': [
    {
      call: 'messages.create',
      plain: 'vertex_anthropic/raw_predict',
      stream: 'vertex_anthropic/stream_raw_predict',
      error: 'vertex_anthropic/error_429_google',
    },
  ],
  google: [
    {
      call: 'models.generate_content',
      streamed: 'models.generate_content_stream',
      plain: 'gemini_generate/plain',
      stream: 'gemini_generate/stream_text',
      tool: 'gemini_generate/function_calls',
      error: 'gemini_generate/error_429',
    },
    { call: 'models.embed_content', plain: 'gemini_embed/batch', error: 'gemini_embed/error_400' },
  ],
  mistral: [
    {
      call: 'chat.complete',
      streamed: 'chat.stream',
      plain: 'openai_chat/mistral_thinking',
      stream: 'openai_chat/mistral_thinking_stream',
      error: 'openai_chat/mistral_error_422',
    },
  ],
  groq: [
    {
      call: 'chat.completions.create',
      plain: 'openai_chat/plain',
      stream: 'openai_chat/groq_stream_usage',
      tool: 'openai_chat/tool_calls_parallel',
      error: 'openai_chat/error_429',
    },
  ],
  cohere: [
    {
      call: 'chat',
      streamed: 'chat_stream',
      plain: 'cohere_chat/plain',
      stream: 'cohere_chat/stream_text',
      tool: 'cohere_chat/thinking_tool_call',
      error: 'cohere_chat/error_404',
    },
    { call: 'embed', plain: 'cohere_embed/texts', error: 'cohere_embed/error_400' },
    { call: 'rerank', plain: 'cohere_rerank/plain', error: 'cohere_rerank/error_400' },
  ],
  ollama: [
    {
      call: 'chat',
      plain: 'ollama_chat/plain',
      stream: 'ollama_chat/stream_text',
      tool: 'ollama_chat/tool_calls',
      error: 'ollama_chat/error_404_model',
    },
    {
      call: 'generate',
      plain: 'ollama_chat/generate',
      stream: 'ollama_chat/stream_generate',
    },
    { call: 'embed', plain: 'ollama_embed/list', error: 'ollama_embed/error_404_model' },
  ],
  bedrock: [
    {
      call: 'converse',
      streamed: 'converse_stream',
      plain: 'bedrock_converse/plain',
      stream: 'bedrock_converse/stream_text',
      tool: 'bedrock_converse/stream_tool_use',
      error: 'bedrock_converse/error_429_throttling',
    },
    {
      call: 'invoke_model',
      streamed: 'invoke_model_with_response_stream',
      plain: 'bedrock_invoke/plain',
      stream: 'bedrock_invoke/stream_text',
      tool: 'bedrock_invoke/stream_tool_use',
      error: 'bedrock_invoke/error_403_stream',
    },
  ],
}

const TEMPORARY = folder()
let server: Loopback
let front: Front
beforeAll(async () => {
  server = await Loopback.start()
  front = await Front.start(server)
})
afterAll(() => {
  front.close()
  server.close()
})
afterEach(async () => {
  uninstrument()
  expect(stats().notes.observer).toBeUndefined()
  await shutdown(5000)
  await server.reset()
})

/** An item, without what the server or the SDK makes anew. */
const told = (item: unknown): string =>
  JSON.stringify(item)?.replace(/"date":"[^"]*"|,"usage":null|"(attempts|totalRetryDelay)":\d+/g, '')

/** The calls of an application: what it gets, what the server got, and the events. */
class Application {
  /** What the caller got of the last call. */
  seen: string[] = []

  constructor(
    private readonly sdk: Sdk,
    private readonly scenario: Scenario,
    /** Has a client observed, somehow. */
    private readonly observe: (client: Any) => void,
  ) {}

  /** Makes the call of a case in a trace; gives the id of that. */
  async run(
    name: string,
    how: { knobs?: string; items?: number; making?: Making } = {},
  ): Promise<string | undefined> {
    const { sdk, scenario } = this
    const test = readCase(name)
    const base = (sdk.http2 ? front : server).case(name, how.knobs)
    const client = sdk.client(base, test, how.making ?? {})
    this.observe(client)
    const leaving = new AbortController()
    const path = new URL(test.about.url).pathname
    this.seen = []
    const streams = test.request.stream === true || /[sS]tream(?!s)/.test(path)
    const call = (streams && scenario.streamed) || scenario.call
    return trace('matrix', SCOPE, async ({ traceId }) => {
      try {
        const answer = await sdk.call(client, call, test, leaving.signal)
        let items = 0
        if (answer?.[Symbol.asyncIterator]) {
          for await (const item of answer) {
            this.seen.push(told(item))
            if (++items !== how.items) continue
            sdk.leave?.(answer)
            break
          }
        }
        if (items === 0) this.seen.push(told(answer))
        if (how.items) {
          answer.abort?.()
          leaving.abort()
        }
      } catch (error) {
        this.seen.push(String(error))
      }
      return traceId
    })
  }

  async events(): Promise<Event[]> {
    for (let i = 0; i < 50 && stats().captured < 2; i++) {
      // What a stream that broke is left as is only known when it is collected.
      global.gc?.()
      await new Promise((done) => setTimeout(done, 10))
    }
    await flush(5000)
    const found = (await server.events()).filter(({ event }) => event !== '$ai_trace')
    await server.reset()
    return found
  }

  /** What the server gets of a call. */
  async wire(name: string): Promise<object[]> {
    await server.reset()
    await this.run(name)
    const calls = await server.calls()
    return calls.map(({ path, sha256, header_names }) => ({ path, sha256, header_names }))
  }
}

const ALL = Object.values(SDKS)
  .flat()
  .flatMap((sdk) => (SCENARIOS[sdk.sdk] ?? []).map((scenario) => ({ sdk, scenario })))
  .filter(({ sdk, scenario }) => !(sdk.lacks ?? []).includes(scenario.call))

describe.each(['wrap', 'instrument'])('%s', (way) => {
  it.each(
    ALL.map(({ sdk, scenario }) => [`${sdk.name} ${sdk.version}`, scenario.call, sdk, scenario] as const),
  )('%s: %s', async (_, __, sdk, scenario) => {
    const hosts = Object.fromEntries([server.url, front.url].map((url) => [new URL(url).host, sdk.provider]))
    const begin = () =>
      init({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000, hosts })
    // A client that was there before the process was observed: the hardest to see.
    const observe = (client: Any) => {
      if (way === 'instrument') instrument()
      else expect(wrap(client)).toBe(client)
    }
    const application = new Application(sdk, scenario, observe)
    const next = async () => {
      uninstrument()
      await shutdown(5000)
      begin()
    }
    const checks: Checks = {}

    begin()
    const plain = readCase(scenario.plain)
    let id = await application.run(scenario.plain)
    const event = recorded(await application.events(), plain, id)
    checks.recorded = 'ok'
    checks.scope = 'ok'
    checks.tokens = tokens(event, plain)
    checks.cost = cost(event, plain)

    await next()
    id = await (scenario.error
      ? application.run(scenario.error)
      : application.run(scenario.plain, { knobs: 'status=418,times=9' }))
    error(await application.events(), scenario.error, id)
    checks.errors = 'ok'

    checks.tool_calls = 'n/a: the corpus has none for this call'
    if (scenario.tool) {
      await next()
      const id = await application.run(scenario.tool)
      recorded(await application.events(), readCase(scenario.tool), id)
      checks.tool_calls = 'ok'
    }

    for (const name of ['stream', 'stream_left', 'stream_cut']) checks[name] = 'n/a: it has no stream'
    if (scenario.stream) {
      const test = readCase(scenario.stream)
      await next()
      const id = await application.run(scenario.stream, { knobs: 'gzip=1' })
      const event = (await application.events())[0] as Event
      expect(event?.properties.$ai_stream_status).toBe('complete')
      expect(event.properties.$ai_output_choices).toEqual(test.expected.properties.$ai_output_choices)
      // Below `fetch` usage cannot be asked for.
      if (way === 'wrap' || !test.about.asked_usage) tokens(recorded([event], test, id), test)
      checks.stream = 'ok'

      await next()
      await application.run(scenario.stream, { knobs: 'delay-ms=40', items: 1 })
      const left = await application.events()
      expect(left.map((event) => event.properties.$ai_stream_status)).toEqual(['abandoned'])
      checks.stream_left = 'ok'

      await next()
      await application.run(scenario.stream, { knobs: 'cut=2' })
      const cut = await application.events()
      expect(cut.map((event) => event.properties.$ai_stream_status)).toEqual(['error'])
      checks.stream_cut = 'ok'
    }

    checks.retries = sdk.noRetries ?? 'ok'
    if (!sdk.noRetries) {
      await next()
      const making = { retries: 2 }
      await application.run(scenario.plain, { knobs: 'status=503,times=1,retry-after-ms=5', making })
      const events = await application.events()
      expect(events.map(({ properties }) => properties.$ai_retries)).toEqual([1])
      expect(events[0]?.properties.$ai_http_status).toBe(200)
    }

    // The server gets the same bytes and the caller the same items, and the same error where it breaks.
    await next()
    const alone = new Application(sdk, scenario, () => uninstrument())
    const unobserved = await alone.wire(scenario.plain)
    expect(unobserved).toHaveLength(1)
    expect(await application.wire(scenario.plain)).toEqual(unobserved)
    expect(application.seen).toEqual(alone.seen)
    checks.wire = 'ok'
    for (const knobs of scenario.stream ? ['chunk=7', 'cut=2'] : []) {
      await alone.run(scenario.stream as string, { knobs })
      await application.run(scenario.stream as string, { knobs })
      expect(application.seen).toEqual(alone.seen)
    }
    checks.caller = 'ok'

    cover(sdk, way === 'wrap' ? scenario.call : `${scenario.call}, instrument()`, checks)
  })
})
