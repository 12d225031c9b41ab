import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import { Client, type Fetch, type Options } from '../dist/index.mjs'

/** An event as it came in. */
export interface Event {
  event: string
  distinct_id: string
  uuid: string
  timestamp: string
  // biome-ignore lint/suspicious/noExplicitAny: properties are free-form
  properties: Record<string, any>
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece)
  return Buffer.concat(pieces)
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  server.unref()
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** PostHog's ingestion, as far as it takes to collect events. */
export async function ingestion() {
  const events: Event[] = []
  const server = createServer(async (request, response) => {
    const body = await read(request)
    const plain = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body
    if (request.url?.startsWith('/flags/')) {
      const known = !JSON.parse(plain.toString()).api_key.includes('no-such')
      response.statusCode = known ? 200 : 401
      response.end(known ? '{"flags":{}}' : '{"code":"invalid_api_key","detail":"Project API key invalid."}')
      return
    }
    events.push(...JSON.parse(plain.toString()).batch)
    response.setHeader('content-type', 'application/json').end('{"status":1}')
  })
  const host = await listen(server)
  return {
    host,
    events,
    /** A client that sends its events here. */
    client: (options: Options = {}) =>
      new Client({ apiKey: 'phc_test', host, dir: folder(), flushInterval: 60_000, ...options }),
    close: () => server.close(),
  }
}

export type Ingestion = Awaited<ReturnType<typeof ingestion>>

type Answer = (request: IncomingMessage & { body: string }, response: ServerResponse) => unknown

/** A provider that answers as it is told. */
export async function provider(answer: Answer) {
  const requests: { url: string; headers: IncomingMessage['headers']; body: string }[] = []
  const server = createServer(async (request, response) => {
    const body = (await read(request)).toString()
    requests.push({ url: request.url ?? '', headers: request.headers, body })
    await answer(Object.assign(request, { body }), response)
  })
  const base = await listen(server)
  return {
    base,
    authority: base.slice('http://'.length),
    chat: `${base}/v1/chat/completions`,
    requests,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

const folders: string[] = []
process.on('exit', () => {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
})

/** A folder of its own, that is gone when the tests are. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'llmtrail-'))
  folders.push(path)
  return path
}

/** The events of a local store, as `llmtrail export` gives them. */
export function stored(dir: string): Event[] {
  const args = [join(import.meta.dirname, '../bin/llmtrail.js'), 'export', '--format', 'jsonl']
  const lines = execFileSync(process.execPath, args, { env: { ...process.env, LLMTRAIL_DIR: dir } })
  return lines
    .toString()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

/** Names below names. */
export interface Tree {
  [name: string]: Tree
}

/** Events as trees of names. A call's name is what it asks; every parent is there. */
export function forest(events: Event[]): Tree {
  const nodes = new Map<string, Tree>()
  const of = (...ids: string[]): Tree => {
    const key = ids.join(' ')
    const node = nodes.get(key) ?? {}
    nodes.set(key, node)
    return node
  }
  const all = events.map(({ properties: p }) => p)
  for (const p of all) of(p.$ai_trace_id, p.$ai_span_id ?? p.$ai_trace_id)
  const roots: Tree = {}
  for (const p of all) {
    const parent = p.$ai_parent_id
    const around = parent === undefined ? roots : nodes.get(`${p.$ai_trace_id} ${parent}`)
    const name = p.$ai_span_name ?? p.$ai_input[0].content
    if (around === undefined) throw new Error(`the parent of ${name} is not there`)
    if (name in around) throw new Error(`two are called ${name}`)
    around[name] = of(p.$ai_trace_id, p.$ai_span_id ?? p.$ai_trace_id)
  }
  return roots
}

export const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms))

export type Provider = Awaited<ReturnType<typeof provider>>

/** The answer of a chat completion. */
export function completion(content: string) {
  return JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model: 'gpt-5-mini-2025-08-07',
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 },
  })
}

/** A chunk of a streamed one. */
export function chunk(content: string, finish: string | null = null): string {
  const choices = [{ index: 0, delta: { content }, finish_reason: finish }]
  return `data: ${JSON.stringify({ id: 'chatcmpl-1', model: 'gpt-5-mini-2025-08-07', choices })}\n\n`
}

export const STREAM = { 'content-type': 'text/event-stream; charset=utf-8' }

export const STREAMED = JSON.stringify({
  model: 'gpt-5-mini',
  stream: true,
  messages: [{ role: 'user', content: 'hi' }],
})
export const PLAIN = JSON.stringify({ model: 'gpt-5-mini', messages: [{ role: 'user', content: 'hi' }] })
export const post = (body: string, rest: RequestInit = {}): RequestInit => ({ method: 'POST', body, ...rest })

export async function eventually(check: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 300; i++) {
    if (check()) return
    await pause(10)
  }
  throw new Error(`never: ${what}`)
}

/** A provider, a client that observes it and the server that gets the events. */
class Stage {
  client!: Client
  #server!: Ingestion
  readonly #providers: Provider[] = []

  async open(): Promise<void> {
    this.#server = await ingestion()
  }

  close(): void {
    this.#server.close()
  }

  /** A provider, and a client that knows it by this name; perplexity is one that is never asked for usage. */
  async play(answer: Answer, name = 'perplexity'): Promise<Provider> {
    const played = await provider(answer)
    this.#providers.push(played)
    this.client = this.#server.client({ hosts: { [played.authority]: name } })
    return played
  }

  async over(): Promise<void> {
    await this.client.shutdown(2000)
    this.#server.events.length = 0
    for (const provider of this.#providers.splice(0)) provider.close()
  }

  async sent(): Promise<Event[]> {
    await this.client.flush(5000)
    return this.#server.events.splice(0)
  }

  /** An observed fetch around one of the user's own. */
  around(inner: Fetch): Fetch {
    return this.client.wrap({ fetch: inner, baseURL: '', withOptions: () => undefined }).fetch
  }
}

/** A stage for the tests of a file: cleared after each of them, in which nothing of ours may have gone wrong. */
export function stageOfTests(): Stage {
  const stage = new Stage()
  beforeAll(() => stage.open())
  afterEach(async () => {
    const { notes } = stage.client.stats()
    await stage.over()
    expect(notes.observer).toBeUndefined()
  })
  afterAll(() => stage.close())
  return stage
}
