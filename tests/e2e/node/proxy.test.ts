// LiteLLM's proxy plays the providers: a witness of the wire that is not ours. `LITELLM_PROXY` names its program.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Client } from 'llmtrail'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { folder, Loopback } from './loopback.ts'
import { cover } from './proof.ts'
import { type Any, anthropics, openais, versionOf } from './sdks.ts'

const PROXY = process.env.LITELLM_PROXY
const ANSWER = 'Your order is on its way.'
const QUESTION = 'Where is my order?'
const MESSAGES = [{ role: 'user' as const, content: QUESTION }]
const KEY = `sk-${randomBytes(24).toString('hex')}`

const TEMPORARY = folder()

let server: Loopback
let proxy: { url: string; stop: () => Promise<void> }
let trail: Client

beforeAll(async () => {
  server = await Loopback.start()
  if (PROXY) proxy = await started(PROXY)
}, 150_000)
afterAll(async () => {
  await proxy?.stop()
  server.close()
})
beforeEach(() => {
  trail = new Client({ apiKey: 'phc_test', host: server.url, dir: TEMPORARY, flushInterval: 60_000 })
})
afterEach(async () => {
  await trail.shutdown(10_000)
  expect(trail.stats().notes.observer).toBeUndefined()
  await server.reset()
})

async function started(program: string) {
  const free = createServer().listen(0, '127.0.0.1')
  await once(free, 'listening')
  const { port } = free.address() as { port: number }
  free.close()
  const url = `http://127.0.0.1:${port}`
  const home = folder()
  const config = readFileSync(join(import.meta.dirname, '../proxy.yaml'), 'utf8')
  const filled = config.replace(/\$\{(\w+)\}/g, (_, name) => ({ ANSWER, KEY, URL: url })[name as 'KEY'])
  writeFileSync(join(home, 'config.yaml'), filled)
  const log = openSync(join(home, 'log'), 'w')
  const { PATH, HOME } = process.env
  const child = spawn(program, ['--config', 'config.yaml', '--host', '127.0.0.1', '--port', String(port)], {
    cwd: home,
    env: { PATH, HOME, LITELLM_LOCAL_MODEL_COST_MAP: 'True', LITELLM_TELEMETRY: 'False' },
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  const ended = once(child, 'exit')
  const stop = async () => {
    child.kill()
    await ended
  }
  for (const until = Date.now() + 120_000; ; ) {
    const alive = await fetch(`${url}/health/liveliness`).catch(() => undefined)
    if (alive?.ok) return { url, stop }
    if (child.exitCode !== null || Date.now() > until) {
      child.kill()
      throw new Error(readFileSync(join(home, 'log'), 'utf8').slice(-2000))
    }
    await new Promise((done) => setTimeout(done, 200))
  }
}

const textOf = (content: Any): string =>
  typeof content === 'string' ? content : content.map((part: Any) => part.text).join('')

/** The one event of a call: what its caller was told of tokens, and the answer. */
async function asked(input: number, output: number | undefined, streamed: boolean, model: string) {
  expect((await trail.flush(10_000)).pending).toBe(0)
  const [event, ...more] = await server.events()
  expect(more).toEqual([])
  const got = event?.properties ?? {}
  expect(JSON.stringify(got.$ai_input)).toContain(QUESTION)
  expect(got).toMatchObject({ $ai_model: model, $ai_http_status: 200, $ai_input_tokens: input })
  expect(input).toBeGreaterThan(0)
  expect(got.$ai_latency).toBeGreaterThan(0)
  expect(got).not.toHaveProperty('$ai_usage_inconsistent')
  if (output !== undefined) {
    expect(got.$ai_output_choices).toHaveLength(1)
    expect(got.$ai_output_choices[0].role).toBe('assistant')
    expect(textOf(got.$ai_output_choices[0].content)).toBe(ANSWER)
    expect(output).toBeGreaterThan(0)
    expect(got).toMatchObject({ $ai_output_tokens: output, $ai_stream: streamed })
    expect(got.$ai_stream_status).toBe(streamed ? 'complete' : undefined)
    expect(got.$ai_total_cost_usd).toBeGreaterThan(0)
  }
  return { name: event?.event, properties: got }
}

function proven(pkg: string, call: string, streamed: boolean, cost = true) {
  const checks = {
    recorded: 'ok',
    tokens: 'ok',
    ...(cost && { cost: 'ok' }),
    ...(streamed && { stream: 'ok' }),
  }
  cover(versionOf(pkg), `${call}${streamed ? ', stream' : ''}, from LiteLLM's proxy`, checks)
}

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of stream) items.push(item)
  return items
}

const BOTH = [{ streamed: false }, { streamed: true }]

describe.skipIf(!PROXY).each(openais)('%s', (name, OpenAI) => {
  const open = (): Any =>
    trail.wrap(new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: KEY, maxRetries: 0 }), { provider: 'openai' })
  const text = (chunks: Any[]) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('')

  it.each(BOTH)('chat, stream: $streamed', async ({ streamed: stream }) => {
    const ask = { model: 'gpt-5-mini', messages: MESSAGES, stream }
    const options = stream && { stream_options: { include_usage: true } }
    const answer = await open().chat.completions.create({ ...ask, ...options })
    const chunks = stream ? await all<Any>(answer) : []
    expect(stream ? text(chunks) : answer.choices[0].message.content).toBe(ANSWER)
    const usage = stream ? chunks.at(-1)?.usage : answer.usage
    await asked(usage.prompt_tokens, usage.completion_tokens, stream, 'gpt-5-mini')
    proven(name, 'chat.completions.create', stream)
  })

  it('usage is asked for, and hidden', async () => {
    const ask = { model: 'gpt-5-mini', messages: MESSAGES, stream: true }
    const chunks = await all<Any>(await open().chat.completions.create(ask))
    expect(chunks.every((chunk) => !chunk.usage)).toBe(true)
    expect(text(chunks)).toBe(ANSWER)
    expect(chunks.at(-1)?.choices[0].finish_reason).toBe('stop')
    await trail.flush(10_000)
    const [event] = await server.events()
    expect(event?.properties.$ai_output_tokens).toBeGreaterThan(0)
    expect(event?.properties.$ai_stream_status).toBe('complete')
  })

  it.each(BOTH)('Responses, stream: $streamed', async ({ streamed: stream }) => {
    const answer = await open().responses.create({ model: 'gpt-5', input: QUESTION, stream })
    const response = stream ? (await all<Any>(answer)).at(-1)?.response : answer
    expect(response.output[0].content[0].text).toBe(ANSWER)
    const { input_tokens, output_tokens } = response.usage
    const { properties } = await asked(input_tokens, output_tokens, stream, response.model)
    expect(properties.$ai_response_id).toBe(response.id)
    proven(name, 'responses.create', stream)
  })

  it('embeddings', async () => {
    const ask = { model: 'text-embedding-3-small', input: QUESTION, encoding_format: 'float' }
    const answer = await open().embeddings.create(ask)
    expect(answer.data[0].embedding).toEqual([0.25, -0.5])
    const event = await asked(answer.usage.prompt_tokens, undefined, false, 'text-embedding-3-small')
    expect(event.name).toBe('$ai_embedding')
    proven(name, 'embeddings.create', false, false)
  })

  it('an error', async () => {
    const call = open().chat.completions.create({ model: 'no-such-model', messages: MESSAGES })
    const error = await call.then(
      () => expect.unreachable(),
      (error: Any) => error,
    )
    await trail.flush(10_000)
    const [event] = await server.events()
    expect(event?.properties).toMatchObject({ $ai_is_error: true, $ai_http_status: error.status })
    expect(event?.properties.$ai_error).toContain('no-such-model')
  })
})

describe.skipIf(!PROXY).each(anthropics)('%s', (name, Anthropic) => {
  it.each(BOTH)('messages, stream: $streamed', async ({ streamed }) => {
    const client: Any = new Anthropic({ baseURL: proxy.url, apiKey: KEY, maxRetries: 0 })
    trail.wrap(client, { provider: 'anthropic' })
    const ask = { model: 'claude-sonnet-4-5', max_tokens: 64, messages: MESSAGES }
    const message = streamed
      ? await client.messages.stream(ask).finalMessage()
      : await client.messages.create(ask)
    expect(message.content[0].text).toBe(ANSWER)
    const { input_tokens, output_tokens } = message.usage
    await asked(input_tokens, output_tokens, streamed, 'claude-sonnet-4-5')
    proven(name, 'messages.create', streamed)
  })
})
