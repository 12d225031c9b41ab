// What stands on top of SDKs or of fetch: one event for each call that reaches a provider, in the scope of the caller.
import { fetch, flush, init, instrument, shutdown, stats, trace, uninstrument, wrap } from 'llmtrail'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { about } from './calling.ts'
import { type Event, folder, Loopback } from './loopback.ts'
import { cover, inScope, SCOPE } from './proof.ts'
import { type Any, MODERN } from './sdks.ts'

const TEMPORARY = folder()
const KEY = { apiKey: 'sk-test-key' }

let server: Loopback
beforeAll(async () => {
  server = await Loopback.start()
})
afterAll(() => server.close())
beforeEach(() => {
  const hosts = { [new URL(server.url).host]: provider }
  init({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000, hosts })
})
afterEach(async () => {
  uninstrument()
  expect(stats().notes.observer).toBeUndefined()
  await shutdown(5000)
  await server.reset()
})
/** Of the server, for the test that comes next. */
let provider = 'openai'

/** Runs it in a trace: its events, as many as there were calls to the provider, all of that trace. */
async function observed(run: () => Promise<unknown>): Promise<Event['properties'][]> {
  const id = await trace('framework', SCOPE, async ({ traceId }) => {
    await run()
    return traceId
  })
  await flush(5000)
  const events = (await server.events()).filter(({ event }) => !['$ai_trace', '$ai_span'].includes(event))
  expect(events).toHaveLength((await server.calls()).length)
  for (const event of events) inScope(event, id)
  return events.map(({ properties }) => properties)
}

const weather = 'What is the weather in Paris?'
const tokens = ({ $ai_input_tokens, $ai_output_tokens }: Event['properties']) => {
  expect($ai_input_tokens).toBeGreaterThan(0)
  expect($ai_output_tokens).toBeGreaterThan(0)
}

interface Provided {
  name: string
  pkg: string
  provider: string
  /** A model whose calls go to a case, or, without one, to answers that are made up. */
  model(sdk: Any, options: object): Any
  plain?: string
  stream?: string
}

const ROWS: [string, Provided[]][] = [
  ['ai-5', providers('ai-sdk-openai-2', 'ai-sdk-anthropic-2', 'ai-sdk-google-2', 'ai-sdk-amazon-bedrock-3')],
]
if (MODERN) {
  ROWS.push([
    'ai',
    providers('@ai-sdk/openai', '@ai-sdk/anthropic', '@ai-sdk/google', '@ai-sdk/amazon-bedrock'),
  ])
}

function providers(openai: string, anthropic: string, google: string, bedrock: string): Provided[] {
  const at = (path: string, name?: string) => `${name ? server.case(name) : server.url}${path}`
  return [
    {
      name: 'chat',
      pkg: openai,
      provider: 'openai',
      model: ({ createOpenAI }, rest) =>
        createOpenAI({ ...KEY, baseURL: at('/v1'), ...rest }).chat('gpt-5-mini'),
    },
    {
      name: 'responses',
      pkg: openai,
      provider: 'openai',
      model: ({ createOpenAI }, rest) =>
        createOpenAI({ ...KEY, baseURL: at('/v1'), ...rest }).responses('gpt-5-mini'),
    },
    {
      name: 'messages',
      pkg: anthropic,
      provider: 'anthropic',
      model: ({ createAnthropic }, rest) =>
        createAnthropic({ ...KEY, baseURL: at('/v1'), ...rest })('claude-sonnet-4-5'),
    },
    {
      name: 'generateContent',
      pkg: google,
      provider: 'google-ai-studio',
      plain: 'gemini_generate/plain',
      stream: 'gemini_generate/stream_text',
      model: ({ createGoogleGenerativeAI }, { name, ...rest }: Any) =>
        createGoogleGenerativeAI({ ...KEY, baseURL: at('/v1beta', name), ...rest })('gemini-2.5-flash'),
    },
    {
      name: 'converse',
      pkg: bedrock,
      provider: 'amazon-bedrock',
      plain: 'bedrock_converse/plain',
      stream: 'bedrock_converse/stream_text',
      model: ({ createAmazonBedrock }, { name, ...rest }: Any) =>
        createAmazonBedrock({
          region: 'us-east-1',
          accessKeyId: 'test',
          secretAccessKey: 'test',
          baseURL: at('', name),
          ...rest,
        })('us.amazon.nova-micro-v1:0'),
    },
  ]
}

for (const [pkg, provided] of ROWS) {
  const versions = about('', pkg, '')
  describe(`${versions.name} ${versions.version}`, async () => {
    const ai: Any = await import(pkg)
    const once = { prompt: weather, maxRetries: 0 }
    describe.each(provided)('$pkg $name', (row) => {
      beforeAll(() => {
        provider = row.provider
      })
      it.each(['fetch', 'instrument()'])('%s', async (way) => {
        const sdk: Any = await import(row.pkg)
        if (way !== 'fetch') instrument()
        const model = (name?: string) =>
          row.model(sdk, { ...(way === 'fetch' && { fetch }), ...(name && { name }) })

        const [plain] = await observed(() => ai.generateText({ model: model(row.plain), ...once }))
        expect(plain?.$ai_provider).toBe(row.provider)
        tokens(plain as Any)
        expect(plain?.$ai_total_cost_usd).toBeGreaterThan(0)
        expect(JSON.stringify(plain?.$ai_input)).toContain(weather)

        await server.reset()
        const [streamed] = await observed(async () => {
          const { textStream } = await ai.streamText({ model: model(row.stream), ...once })
          for await (const _ of textStream);
        })
        expect(streamed?.$ai_stream_status).toBe('complete')
        tokens(streamed as Any)

        const checks = { recorded: 'ok', scope: 'ok', tokens: 'ok', cost: 'ok', stream: 'ok' }
        const tools = { tool_calls: 'n/a: played from cases, which answer once' }
        if (!row.plain) {
          await server.reset()
          // A step that calls a tool, and one that has its result.
          const steps = await observed(() =>
            ai.generateText({
              model: model(),
              ...once,
              stopWhen: ai.stepCountIs?.(3) ?? ai.isStepCount(3),
              tools: {
                weather: ai.tool({
                  description: 'The weather of a place',
                  inputSchema: z.object({ place: z.string() }),
                  execute: async () => 'sunny',
                }),
              },
            }),
          )
          expect(steps).toHaveLength(2)
          expect(JSON.stringify(steps[0]?.$ai_output_choices)).toContain('"weather"')
          tools.tool_calls = 'ok'
        }
        const calling = way === 'fetch' ? 'fetch option' : way
        cover(about('', row.pkg, ''), `${row.name} through ai ${versions.version}, ${calling}`, {
          ...checks,
          ...tools,
        })
      })
    })
  })
}

const LANGCHAIN: [string, string, string, object][] = [
  ['langchain-openai-1-0', 'ChatOpenAI', 'openai', { useResponsesApi: false }],
  ['langchain-openai-1-0', 'ChatOpenAI', 'openai', { useResponsesApi: true }],
  ['langchain-anthropic-1-0', 'ChatAnthropic', 'anthropic', {}],
  ['@langchain/anthropic', 'ChatAnthropic', 'anthropic', {}],
]
if (MODERN) {
  LANGCHAIN.push(['@langchain/openai', 'ChatOpenAI', 'openai', { useResponsesApi: false }])
  LANGCHAIN.push(['@langchain/openai', 'ChatOpenAI', 'openai', { useResponsesApi: true }])
}

describe.each(LANGCHAIN)('%s %s', (pkg, kind, of, options) => {
  beforeAll(() => {
    provider = of
  })
  it.each(['wrap', 'instrument()'])(`${JSON.stringify(options)} %s`, async (way) => {
    const { [kind]: Model }: Any = await import(pkg)
    if (way !== 'wrap') instrument()
    const make = () =>
      new Model({
        apiKey: 'sk-test-key',
        model: of === 'openai' ? 'gpt-5-mini' : 'claude-sonnet-4-5',
        maxRetries: 0,
        configuration: { baseURL: `${server.url}/v1` },
        anthropicApiUrl: server.url,
        ...options,
      })
    const model = make()
    if (way === 'wrap') {
      expect(wrap(model)).toBe(model)
      // Once more changes nothing.
      expect(wrap(model)).toBe(model)
    }
    const [plain] = await observed(() => model.invoke(weather))
    tokens(plain as Any)
    expect(plain?.$ai_provider).toBe(of)
    expect(plain?.$ai_total_cost_usd).toBeGreaterThan(0)
    await server.reset()
    const [streamed] = await observed(async () => {
      for await (const _ of await model.stream(weather));
    })
    expect(streamed?.$ai_stream_status).toBe('complete')
    tokens(streamed as Any)
    await server.reset()
    const place = { type: 'object', properties: { place: { type: 'string' } } }
    const tool = { type: 'function', function: { name: 'weather', parameters: place } }
    const [called] = await observed(() => model.bindTools([tool]).invoke(weather))
    expect(JSON.stringify(called?.$ai_output_choices)).toContain('"weather"')
    const call = Object.values(options)[0] ? 'invoke (Responses)' : 'invoke'
    cover(about('', pkg, ''), `${call}, ${way}`, {
      recorded: 'ok',
      scope: 'ok',
      tokens: 'ok',
      cost: 'ok',
      stream: 'ok',
      tool_calls: 'ok',
    })
  })
})

it('embeddings of LangChain', async () => {
  provider = 'openai'
  const { OpenAIEmbeddings }: Any = await import('langchain-openai-1-0')
  const made = new OpenAIEmbeddings({ ...KEY, configuration: { baseURL: `${server.url}/v1` } })
  expect(wrap(made)).toBe(made)
  const [event] = await observed(() => made.embedQuery(weather))
  expect(event?.$ai_input_tokens).toBeGreaterThan(0)
  cover(about('', 'langchain-openai-1-0', ''), 'embedQuery, wrap', {
    recorded: 'ok',
    scope: 'ok',
    tokens: 'ok',
  })
})

const AGENTS: [string, string][] = [['openai-agents-0-5', 'openai']]
if (MODERN) AGENTS.push(['@openai/agents', 'openai-7'])

describe.each(AGENTS)('%s', (pkg, sdk) => {
  it.each(['wrap', 'instrument()'])('%s', async (way) => {
    const agents: Any = await import(pkg)
    const { default: OpenAI }: Any = await import(sdk)
    agents.setTracingDisabled(true)
    const client = new OpenAI({ ...KEY, baseURL: `${server.url}/v1`, maxRetries: 0 })
    if (way === 'wrap') wrap(client)
    else instrument()
    agents.setDefaultOpenAIClient(client)
    const weather = agents.tool({
      name: 'weather',
      description: 'The weather of a place',
      parameters: z.object({ place: z.string() }),
      execute: async () => 'sunny',
    })
    const agent = new agents.Agent({
      name: 'guide',
      instructions: 'Be brief.',
      model: 'gpt-5-mini',
      tools: [weather],
    })
    const events = await observed(() => agents.run(agent, 'What is the weather in Paris?'))
    expect(events).toHaveLength(2)
    for (const event of events) tokens(event)
    await server.reset()
    const streamed = await observed(async () => {
      const run = await agents.run(agent, 'What is the weather in Rome?', { stream: true })
      for await (const _ of run);
      await run.completed
    })
    expect(streamed.map(({ $ai_stream_status }) => $ai_stream_status)).toEqual(['complete', 'complete'])
    cover(about('', pkg, ''), `run, ${way}`, {
      recorded: 'ok',
      scope: 'ok',
      tokens: 'ok',
      cost: 'ok',
      stream: 'ok',
      tool_calls: 'ok',
    })
    for (const event of [...events, ...streamed]) expect(event.$ai_total_cost_usd).toBeGreaterThan(0)
  })
})
