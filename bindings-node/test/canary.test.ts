import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, expect, it } from 'vitest'
import type { Client, Options } from '../dist/index.mjs'
import { folder, ingestion, provider, stored } from './servers.ts'

/** A path of the canary: what a provider is asked and what it answers, with the secret wherever a text may be. */
interface Path {
  url: string
  request: object
  /** 0: the connection is refused. */
  status: number
  response: unknown
}

const FILE = join(import.meta.dirname, '../../tests/scenarios/canary.json')
const { secret, payload, paths } = JSON.parse(readFileSync(FILE, 'utf8')) as {
  secret: string
  payload: string
  paths: Record<string, Path>
}
const IMAGE = `data:image/png;base64,${payload}`
const ALL = [...Object.keys(paths), 'by hand']
const PROVIDERS: Record<string, string> = {
  'api.openai.com': 'openai',
  'api.anthropic.com': 'anthropic',
  'generativelanguage.googleapis.com': 'google-ai-studio',
}

const server = await ingestion()
afterEach(() => {
  server.events.length = 0
})
afterAll(() => server.close())

/** Plays a path with a client of these options; the client is shut down then. */
async function play(name: string, options: Options): Promise<void> {
  const path = paths[name]
  const base = await provider((_, response) => {
    const text = typeof path?.response === 'string' ? path.response : JSON.stringify(path?.response)
    const kind =
      typeof path?.response !== 'string'
        ? 'application/json'
        : text.startsWith('data:')
          ? 'text/event-stream'
          : 'text/html'
    response.writeHead(path?.status ?? 200, {
      'content-type': kind,
      'x-canary': secret,
      'set-cookie': secret,
    })
    response.end(text)
  })
  const url = new URL(path?.url ?? base.chat)
  // Nobody listens there.
  const host = path?.status === 0 ? '127.0.0.1:1' : base.authority
  const client = server.client({
    hosts: { [host]: PROVIDERS[url.host] ?? 'openai' },
    spool: 'always',
    ...options,
  })
  try {
    await client.trace('t', { input: secret }, async () => {
      if (path === undefined) return byHand(client)
      const headers = {
        authorization: `Bearer ${secret}`,
        'x-api-key': secret,
        cookie: secret,
        'x-note': secret,
      }
      const target = `http://${host}${url.pathname}?key=${secret}&x=${secret}`
      const answer = client.fetch(target, { method: 'POST', headers, body: JSON.stringify(path.request) })
      if (path.status === 0) await expect(answer).rejects.toThrow()
      else await (await answer).text()
    })
    expect(await client.shutdown()).toMatchObject({ pending: 0, dropped: {} })
  } finally {
    base.close()
  }
}

function byHand(client: Client): void {
  const error = Object.assign(new Error(`${secret} ${IMAGE}`), { cause: secret })
  client.captureGeneration({
    model: 'm',
    input: secret,
    output: [secret, IMAGE],
    tools: [{ name: secret, description: secret }],
    parameters: { stop: secret },
    baseUrl: `https://${secret}@host/v1?key=${secret}`,
    error,
  })
  client.captureEmbedding({ model: 'm', input: [secret, IMAGE] })
  client.captureSpan('s', { input: { [secret]: secret }, output: IMAGE, error: secret })
  client.captureTrace('t', { input: secret, output: { image: IMAGE } })
  client.span('s', { input: IMAGE }, (span) => {
    span.output = { nested: [secret, IMAGE] }
  })
  expect(() =>
    client.span('s', { input: secret }, () => {
      throw error
    }),
  ).toThrow(error)
}

/** Every file in a folder. */
function files(dir: string): string {
  const found = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return found.map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')).join('\n')
}

/** The value without the names of members, about which `redact` is not asked. */
function withoutNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNames)
  return value !== null && typeof value === 'object' ? Object.values(value).map(withoutNames) : value
}

it.each(ALL)('lets nothing leave in privacy mode: %s', async (name) => {
  const dir = folder()
  await play(name, { dir, privacy: true })
  const all = JSON.stringify(server.events) + files(dir)
  expect(server.events.length).toBeGreaterThanOrEqual(2)
  expect(all).not.toContain(secret)
  expect(all).not.toContain(payload.slice(0, 32))
})

it.each(ALL)('lets only placeholders of media leave: %s', async (name) => {
  const dir = folder()
  await play(name, { dir })
  const sent = JSON.stringify(server.events)
  expect(sent + files(dir)).not.toContain(payload.slice(0, 32))
  if (name !== 'embeddings') expect(sent).toContain('[redacted ')
  // Credentials are in headers and addresses, which are not content.
  for (const leak of [`Bearer ${secret}`, `key=${secret}`, `${secret}@`, `sk-${secret}`])
    expect(sent).not.toContain(leak)
})

it.each(ALL)('lets only what redact said leave: %s', async (name) => {
  const dir = folder()
  await play(name, { dir, local: true, redact: (text) => text.replaceAll(secret, '[mine]') })
  const texts = JSON.stringify(withoutNames([server.events, stored(dir)]))
  expect(texts).not.toContain(secret)
  expect(texts).toContain('[mine]')
})

it.each(ALL)('lets each sink have what it may: %s', async (name) => {
  for (const remote of [true, false]) {
    const dir = folder()
    server.events.length = 0
    await play(name, { dir, local: true, privacy: remote, store: { privacy: !remote } })
    const [sent, kept] = [server.events, stored(dir)]
    const [less, full] = remote ? [sent, kept] : [kept, sent]
    expect(JSON.stringify(less)).not.toContain(secret)
    expect(JSON.stringify(full)).toContain(secret)
    if (!remote) expect(files(dir)).not.toContain(secret)
  }
})

// Where an error may hide something besides its message.
const HIDDEN = ['cause', 'deeper', 'member', 'several', 'stack'].map((place) => `${secret}-${place}`)

/** An error with a secret in its message and others wherever it may keep them. */
function failure(): Error {
  const cause = new Error(HIDDEN[0], { cause: HIDDEN[1] })
  const error = Object.assign(new AggregateError([new Error(HIDDEN[3])], secret, { cause }), {
    password: HIDDEN[2],
  })
  error.stack = `${error.stack}\n    at ${HIDDEN[4]} (${HIDDEN[4]}.js:1:1)`
  return error
}

it.each([true, false])('lets of an error only its type and message leave (privacy: %s)', async (privacy) => {
  const dir = folder()
  const client = server.client({ dir, spool: 'always', local: true, privacy, debug: true })
  const error = failure()
  const raise = (): never => {
    throw error
  }
  const observed = client.wrap({
    fetch: (async () => raise()) as typeof fetch,
    baseURL: '',
    withOptions: () => undefined,
  }).fetch
  const body = JSON.stringify(paths.chat?.request)
  const works: (() => unknown)[] = [
    () => client.span('function', raise),
    () => client.span('async', async () => raise()),
    () => [
      ...client.span('generator', function* () {
        yield 1
        raise()
      }),
    ],
    () => client.span('timed', () => client.generation({ model: 'm', input: secret }, raise)),
    () =>
      client.span('called', () =>
        observed('https://api.openai.com/v1/chat/completions', { method: 'POST', body }),
      ),
  ]
  for (const work of works) {
    await expect((async () => work())()).rejects.toBe(error)
    client.captureGeneration({ model: 'm', error })
    client.captureSpan('by hand', { error })
    client.startSpan('ended').end(error)
  }
  expect(await client.shutdown()).toMatchObject({ pending: 0, dropped: {} })
  const [sent, kept] = [server.events, stored(dir)]
  expect([sent.length, kept.length]).toEqual([5 * 4 + 2, 5 * 4 + 2])
  // Of a connection that failed only the kind of failure is told, in our words.
  const kinds = sent.map(({ properties }) => properties.$ai_error_type)
  expect(kinds.filter((kind) => kind !== 'AggregateError')).toEqual(['connection_error'])
  const everywhere = JSON.stringify([sent, kept]) + files(dir)
  for (const hidden of HIDDEN) expect(everywhere).not.toContain(hidden)
  expect(everywhere.includes(secret)).toBe(!privacy)
})

it('finds personal data of each kind, in what is sent and what is kept', async () => {
  const dir = folder()
  const client = server.client({ dir, local: true, detectors: true })
  const found =
    'anna@example.com, +49 30 901820, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, 203.0.113.7'
  client.captureGeneration({
    model: 'm',
    input: found,
    output: { role: 'assistant', content: found },
    error: found,
  })
  await client.shutdown()
  // Ids are random, and by chance one has the digits of a card in it.
  const ids = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g
  const all = JSON.stringify([server.events, stored(dir)]).replace(ids, 'id')
  for (const value of ['anna@', '30 901820', '1111 1111', 'DE89', '203.0.113.7'])
    expect(all).not.toContain(value)
  for (const kind of ['email', 'phone', 'card', 'iban', 'ip'])
    expect(all).toMatch(new RegExp(`\\[${kind}-\\d+\\]`))
})
