import { execFile } from 'node:child_process'
import { request } from 'node:http'
import { connect, createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { flush, init, instrument, shutdown, stats, trace, uninstrument, wrap } from '../dist/index.mjs'
import {
  chunk,
  completion,
  type Event,
  eventually,
  folder,
  type Ingestion,
  ingestion,
  PLAIN,
  pause,
  post,
  provider,
  STREAM,
  STREAMED,
} from './servers.ts'

// As a client keeps it that was made before.
const before = globalThis.fetch

let server: Ingestion
const closing: (() => void)[] = []
beforeAll(async () => {
  server = await ingestion()
})
afterEach(async () => {
  uninstrument()
  expect(stats().notes.observer).toBeUndefined()
  await shutdown(2000)
  server.events.length = 0
  for (const close of closing.splice(0)) close()
})
afterAll(() => server.close())

/** A provider, and a process that is observed. */
async function play(answer: Parameters<typeof provider>[0]) {
  const played = await provider(answer)
  closing.push(played.close)
  const hosts = { [played.authority]: 'perplexity' }
  init({ apiKey: 'phc_test', host: server.host, dir: folder(), flushInterval: 60_000, hosts })
  instrument()
  return played
}

async function sent(): Promise<Event[]> {
  await flush(5000)
  return server.events.splice(0).filter(({ event }) => event !== '$ai_trace')
}

type Sending = (
  url: string,
  body: string,
  signal?: AbortSignal,
) => Promise<{
  status: number
  pieces: AsyncIterable<Uint8Array>
  /** Breaks off what is being read. */
  stop(): void
}>

/** The layers, each as an SDK that is built on it sends. */
const layers: Record<string, Sending> = {
  fetch: (url, body, signal) => byFetch((...args) => fetch(...args), url, body, signal),
  'a fetch that was kept': (url, body, signal) => byFetch(before, url, body, signal),
  'node:http': (url, body, signal) =>
    new Promise((done, failed) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      const asked = request(url, { method: 'POST', headers, ...(signal && { signal }) }, (response) =>
        done({ status: response.statusCode ?? 0, pieces: response, stop: () => response.destroy() }),
      )
      asked.on('error', failed)
      asked.write(body.slice(0, 10))
      asked.end(body.slice(10))
    }),
}

async function byFetch(fetch: typeof before, url: string, body: string, signal?: AbortSignal) {
  const response = await fetch(url, post(body, signal ? { signal } : {}))
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  async function* pieces() {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  }
  return { status: response.status, pieces: pieces(), stop: () => void reader.cancel() }
}

async function textOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return Buffer.concat(all)
}

describe.each(Object.entries(layers))('%s', (layer, send) => {
  it('is recorded in the scope that it was asked in', async () => {
    const played = await play((_, response) => response.end(completion('hello')))
    const id = await trace('t', { distinctId: 'user-1', sessionId: 's' }, async ({ traceId }) => {
      const { status, pieces } = await send(played.chat, PLAIN)
      expect(status).toBe(200)
      expect((await textOf(pieces)).toString()).toBe(completion('hello'))
      return traceId
    })
    const [event, ...more] = await sent()
    expect(more).toEqual([])
    expect(event).toMatchObject({
      distinct_id: 'user-1',
      properties: {
        $ai_trace_id: id,
        $ai_session_id: 's',
        $ai_input: [{ role: 'user', content: 'hi' }],
        $ai_output_choices: [{ role: 'assistant', content: 'hello' }],
        $ai_http_status: 200,
        $ai_input_tokens: 5,
      },
    })
    expect(played.requests.map(({ body }) => body)).toEqual([PLAIN])
  })

  const codings: Record<string, ((bytes: Buffer) => Buffer) | undefined> = {
    gzip: zlib.gzipSync,
    deflate: zlib.deflateSync,
    br: zlib.brotliCompressSync,
    zstd: (zlib as { zstdCompressSync?: (bytes: Buffer) => Buffer }).zstdCompressSync,
  }
  it.each(Object.entries(codings).filter(([, pack]) => pack))('reads %s', async (coding, pack) => {
    const packed = pack?.(Buffer.from(completion('packed'))) as Buffer
    const played = await play((_, response) => response.setHeader('content-encoding', coding).end(packed))
    const { pieces } = await send(played.chat, PLAIN)
    const bytes = await textOf(pieces)
    // Node's own fetch knows no zstd before 24; `node:http` knows none of them.
    expect([completion('packed'), packed.toString()]).toContain(bytes.toString())
    const [event] = await sent()
    if (coding === 'zstd' && layer === 'fetch' && bytes.equals(packed)) return
    expect(event?.properties.$ai_output_choices).toEqual([{ role: 'assistant', content: 'packed' }])
  })

  it('passes each piece of a stream as it comes, and records its end', async () => {
    let step = () => {}
    const played = await play(async (_, response) => {
      response.writeHead(200, STREAM)
      for (const piece of [chunk('Hel'), chunk('lo', 'stop'), 'data: [DONE]\n\n']) {
        const next = new Promise<void>((done) => {
          step = done
        })
        response.write(piece)
        await next
      }
      response.end()
    })
    const { pieces } = await send(played.chat, STREAMED)
    let seen = 0
    for await (const piece of pieces) {
      expect(piece.length).toBeGreaterThan(0)
      seen++
      step()
    }
    expect(seen).toBe(3)
    const [event] = await sent()
    expect(event?.properties).toMatchObject({
      $ai_stream_status: 'complete',
      $ai_output_choices: [{ role: 'assistant', content: 'Hello' }],
    })
  })

  it('may be left, cut, aborted, and refused', async () => {
    let how = ''
    const played = await play(async (asked, response) => {
      if (how === 'silent') return
      response.writeHead(200, STREAM)
      response.write(chunk('Hel'))
      await pause(20)
      if (how === 'cut') asked.socket.destroy()
    })
    for (how of ['left', 'cut']) {
      const { pieces, stop } = await send(played.chat, STREAMED)
      try {
        for await (const _ of pieces) {
          if (how === 'left') {
            stop()
            break
          }
        }
      } catch {}
    }
    how = 'silent'
    const aborting = new AbortController()
    const waiting = send(played.chat, PLAIN, aborting.signal)
    await eventually(() => played.requests.length === 3, 'asked')
    aborting.abort()
    await expect(waiting).rejects.toThrow()
    const free = createTcpServer().listen(0, '127.0.0.1')
    await new Promise((done) => free.once('listening', done))
    const refused = `http://127.0.0.1:${(free.address() as AddressInfo).port}/v1/chat/completions`
    await new Promise((done) => free.close(done))
    await expect(send(refused, PLAIN)).rejects.toThrow()
    await eventually(() => stats().captured >= 4, 'all four')
    const events = await sent()
    const found = events.map(({ properties: { $ai_stream_status, $ai_error_type } }) => [
      $ai_stream_status,
      $ai_error_type,
    ])
    expect(found).toEqual(
      expect.arrayContaining([
        ['abandoned', undefined],
        ['error', 'connection_cut'],
        [undefined, 'cancelled'],
      ]),
    )
    // What listens at a connection sees none that never came about; `fetch` and `node:http` see the attempt.
    const refusals = found.filter(([, type]) => type === 'connection_refused')
    expect(refusals).toHaveLength(1)
  })

  it('uses connections again, as without us', async () => {
    const ports = new Set<number | undefined>()
    const played = await play((asked, response) => {
      ports.add(asked.socket.remotePort)
      response.end(completion('hello'))
    })
    const use = async (): Promise<number> => {
      ports.clear()
      for (let i = 0; i < 5; i++) await textOf((await send(played.chat, PLAIN)).pieces)
      return ports.size
    }
    const observed = await use()
    expect(await sent()).toHaveLength(5)
    uninstrument()
    expect(await use()).toBe(observed)
    expect(await sent()).toHaveLength(0)
  })

  it('leaves all else alone', async () => {
    const played = await play((_, response) => response.end('{}'))
    const other = played.base.replace('127.0.0.1', 'localhost')
    for (const [path, body] of [
      ['/v1/models', '{}'],
      ['/api/answers', 'no JSON'],
    ])
      await textOf((await send(`${played.base}${path}`, body ?? '')).pieces)
    // The path is one of OpenAI's, or any, and the host nobody's that is known.
    for (const path of ['/api/responses', '/api/answers'])
      await textOf((await send(other + path, '{"model":"m"}')).pieces)
    expect(await sent()).toEqual([])
  })
})

it('records HTTP/2, of sessions that were there before', async () => {
  const http2 = createHttp2Server((asked, response) => {
    asked.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(completion('second'))
    })
  })
  await new Promise<void>((done) => http2.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(http2.address() as AddressInfo).port}`
  const session = connect(url)
  closing.push(() => {
    session.close()
    http2.close()
  })
  await play(() => {})
  const ask = async () => {
    const headers = { ':method': 'POST', ':path': '/v1/chat/completions', 'content-type': 'application/json' }
    const stream = session.request(headers)
    stream.end(PLAIN)
    return (await textOf(stream)).toString()
  }
  expect(await ask()).toBe(completion('second'))
  const events = await sent()
  expect(events.map(({ properties }) => properties)).toMatchObject([
    {
      $ai_input: [{ role: 'user', content: 'hi' }],
      $ai_output_choices: [{ role: 'assistant', content: 'second' }],
      $ai_http_status: 200,
    },
  ])
  uninstrument()
  expect(await ask()).toBe(completion('second'))
  expect(await sent()).toEqual([])
})

it('is one event where a wrapped client calls in an observed process', async () => {
  const played = await play((_, response) => response.end(completion('hello')))
  const fetches: Record<string, typeof fetch> = {
    // One of the user's own, that takes its time and asks the global one.
    async own(input, init) {
      await pause(1)
      return fetch(input, init)
    },
    kept: before,
    global: (...args) => fetch(...args),
  }
  for (const inner of Object.values(fetches)) {
    const client = wrap({ fetch: inner, baseURL: played.base })
    await (await client.fetch(played.chat, post(PLAIN))).text()
    expect(await sent()).toHaveLength(1)
  }
})

it('leaves everything as it was', async () => {
  const prototype = Object.getPrototypeOf(request('http://127.0.0.1:9').on('error', () => {}))
  const names = () => ['write', 'end', 'emit'].map((name) => Object.hasOwn(prototype, name))
  const had = names()
  await play(() => {})
  instrument()
  expect(globalThis.fetch).not.toBe(before)
  uninstrument()
  uninstrument()
  expect(globalThis.fetch).toBe(before)
  expect(names()).toEqual(had)
})

it.each([
  ['--import', 'import', 'mjs'],
  ['--require', 'require', 'cjs'],
])('needs no code: node %s llmtrail/auto', async (flag, _, kind) => {
  const played = await provider((__, response) => response.end(completion('hello')))
  closing.push(played.close)
  init({ enabled: false })
  const code = `fetch(${JSON.stringify(played.chat)}, { method: 'POST', body: ${JSON.stringify(PLAIN)} }).then((answer) => answer.text())`
  await promisify(execFile)(
    process.execPath,
    [flag, 'llmtrail/auto', ...(kind === 'mjs' ? ['--input-type=module'] : []), '--eval', code],
    {
      env: { ...process.env, POSTHOG_API_KEY: 'phc_test', POSTHOG_HOST: server.host, LLMTRAIL_DIR: folder() },
    },
  )
  expect(server.events.map(({ properties }) => properties.$ai_output_choices)).toEqual([
    [{ role: 'assistant', content: 'hello' }],
  ])
})
