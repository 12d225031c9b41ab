import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { Client, type Fetch } from '../dist/index.mjs'
import {
  chunk,
  completion,
  eventually,
  folder,
  PLAIN,
  pause,
  post,
  type provider,
  STREAM,
  STREAMED,
  stageOfTests,
} from './servers.ts'

const DONE = 'data: [DONE]\n\n'

const stage = stageOfTests()

describe('a stream', () => {
  // With usage asked for every piece goes through the filter of the core, which passes on whole events.
  const whole = [': hello\n\n', chunk('Hel'), chunk('lo'), chunk('!', 'stop'), DONE]
  const parted = [...whole.slice(0, 2), chunk('lo').slice(0, 30), chunk('lo').slice(30), ...whole.slice(3)]

  /** Sends piece by piece, each only when the consumer has the one before. */
  function stepwise(pieces: string[]) {
    let step = () => {}
    const answer: Parameters<typeof provider>[0] = async (_, response) => {
      response.writeHead(200, STREAM)
      for (const piece of pieces) {
        const next = new Promise<void>((done) => {
          step = done
        })
        response.write(piece)
        await next
      }
      response.end()
    }
    return { answer, step: () => step() }
  }

  type Reading = (response: Response, step: () => void) => Promise<string[]>
  const readings: Record<string, Reading> = {
    async reader(response, step) {
      const reader = (response.body as ReadableStream<Uint8Array>).getReader()
      const seen: string[] = []
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        seen.push(Buffer.from(value).toString())
        step()
      }
      await reader.closed
      return seen
    },
    async iterator(response, step) {
      const seen: string[] = []
      for await (const value of response.body as ReadableStream<Uint8Array>) {
        seen.push(Buffer.from(value).toString())
        step()
      }
      return seen
    },
    async 'own buffers'(response, step) {
      const reader = (response.body as ReadableStream).getReader({ mode: 'byob' })
      expect(reader).toBeInstanceOf(ReadableStreamBYOBReader)
      const seen: string[] = []
      for (;;) {
        const { done, value } = await reader.read(new Uint8Array(4096))
        if (done) break
        seen.push(Buffer.from(value).toString())
        step()
      }
      return seen
    },
    async pipeTo(response, step) {
      const seen: string[] = []
      await (response.body as ReadableStream).pipeTo(
        new WritableStream({
          write(value) {
            seen.push(Buffer.from(value).toString())
            step()
          },
        }),
      )
      return seen
    },
    async pipeThrough(response, step) {
      const seen: string[] = []
      for await (const value of (response.body as ReadableStream).pipeThrough(new TransformStream())) {
        seen.push(Buffer.from(value).toString())
        step()
      }
      return seen
    },
    async tee(response, step) {
      const [one, other] = (response.body as ReadableStream).tee()
      const seen: string[] = []
      for await (const value of one as ReadableStream<Uint8Array>) {
        seen.push(Buffer.from(value).toString())
        step()
      }
      await other.cancel()
      return seen
    },
    async 'a Node stream'(response, step) {
      const seen: string[] = []
      for await (const value of Readable.fromWeb(response.body as never)) {
        seen.push(Buffer.from(value).toString())
        step()
      }
      return seen
    },
  }

  for (const [name, reading] of Object.entries(readings)) {
    for (const host of ['perplexity', 'openai']) {
      it(`passes each piece at once: ${name}, ${host}`, async () => {
        const pieces = host === 'openai' ? whole : parted
        const { answer, step } = stepwise(pieces)
        const played = await stage.play(answer, host)
        const plain = await reading(await fetch(played.chat, post(STREAMED)), step)
        const observed = await reading(await stage.client.fetch(played.chat, post(STREAMED)), step)
        expect(played.requests[1]?.body.includes('include_usage')).toBe(host === 'openai')
        expect(observed).toEqual(plain)
        expect(plain).toEqual(pieces)
        const [event, ...more] = await stage.sent()
        expect(more).toEqual([])
        expect(event?.properties).toMatchObject({
          $ai_stream: true,
          $ai_stream_status: 'complete',
          $ai_output_choices: [{ role: 'assistant', content: 'Hello!' }],
        })
        expect(event?.properties.$ai_time_to_first_token).toBeGreaterThan(0)
      })
    }
  }
})

describe('a stream that does not end well', () => {
  /** Writes a piece and then does as told. */
  async function begun(then: (response: import('node:http').ServerResponse) => unknown, host?: string) {
    let left = false
    const played = await stage.play((request, response) => {
      request.on('close', () => {})
      response.on('close', () => {
        left = true
      })
      response.writeHead(200, STREAM)
      response.write(chunk('Hel'))
      return then(response)
    }, host)
    return { ...played, left: () => left }
  }

  async function read(response: Response): Promise<{ seen: string; error: unknown }> {
    let seen = ''
    try {
      for await (const value of response.body as ReadableStream<Uint8Array>) seen += Buffer.from(value)
    } catch (error) {
      return { seen, error }
    }
    return { seen, error: undefined }
  }

  it.each(['perplexity', 'openai'])('is cut: %s', async (host) => {
    const played = await begun(async (response) => {
      await pause(20)
      response.write('data: {"choices":[{"del')
      await pause(20)
      response.destroy()
    }, host)
    const plain = await read(await fetch(played.chat, post(STREAMED)))
    const observed = await read(await stage.client.fetch(played.chat, post(STREAMED)))
    expect(observed.seen).toBe(plain.seen)
    expect(String(observed.error)).toBe(String(plain.error))
    expect(plain.error).toBeInstanceOf(TypeError)
    const [event] = await stage.sent()
    expect(event?.properties).toMatchObject({
      $ai_stream_status: 'error',
      $ai_is_error: true,
      $ai_error_type: 'connection_cut',
      $ai_http_status: 200,
      $ai_output_choices: [{ role: 'assistant', content: 'Hel' }],
    })
  })

  it('brings an error event', async () => {
    const error = 'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    const played = await begun((response) => response.end(error))
    const observed = await read(await stage.client.fetch(played.chat, post(STREAMED)))
    expect(observed).toEqual({ seen: chunk('Hel') + error, error: undefined })
    const [event] = await stage.sent()
    expect(event?.properties).toMatchObject({ $ai_stream_status: 'error', $ai_error: 'overloaded' })
  })

  const leaving: Record<string, (body: ReadableStream<Uint8Array>) => Promise<unknown>> = {
    async 'breaks out'(body) {
      for await (const _ of body) break
    },
    async 'cancels its reader'(body) {
      const reader = body.getReader()
      await reader.read()
      await reader.cancel('enough')
    },
    async 'cancels while it reads'(body) {
      const reader = body.getReader()
      await reader.read()
      const waiting = reader.read()
      await reader.cancel()
      expect(await waiting).toMatchObject({ done: true })
    },
    async 'cancels the body'(body) {
      await body.cancel()
    },
    async 'cancels both halves'(body) {
      const [one, other] = body.tee()
      const reader = one.getReader()
      await reader.read()
      await Promise.all([reader.cancel(), other.cancel()])
    },
    async 'aborts a pipe'(body) {
      const stop = new AbortController()
      const sink = new WritableStream({ write: () => stop.abort() })
      await expect(body.pipeTo(sink, { signal: stop.signal })).rejects.toThrow()
    },
  }
  it.each(Object.keys(leaving))('is left by a consumer that %s', async (how) => {
    const played = await begun(() => {})
    const response = await stage.client.fetch(played.chat, post(STREAMED))
    await leaving[how]?.(response.body as ReadableStream<Uint8Array>)
    await eventually(played.left, 'the server sees that the consumer left')
    const [event, ...more] = await stage.sent()
    expect(more).toEqual([])
    expect(event?.properties).toMatchObject({ $ai_stream_status: 'abandoned', $ai_http_status: 200 })
    expect(event?.properties.$ai_is_error).toBeUndefined()
  })

  it('is aborted', async () => {
    const played = await begun(() => {})
    const stop = new AbortController()
    const response = await stage.client.fetch(played.chat, post(STREAMED, { signal: stop.signal }))
    const reading = read(response)
    await pause(50)
    stop.abort()
    const { seen, error } = await reading
    expect(seen).toBe(chunk('Hel'))
    expect(error).toMatchObject({ name: 'AbortError' })
    const [event] = await stage.sent()
    expect(event?.properties).toMatchObject({
      $ai_stream_status: 'abandoned',
      $ai_output_choices: [{ role: 'assistant', content: 'Hel' }],
    })
  })

  it('runs out of time', async () => {
    const played = await begun(() => {})
    const signal = AbortSignal.timeout(80)
    const { error } = await read(await stage.client.fetch(played.chat, post(STREAMED, { signal })))
    expect(error).toBe(signal.reason)
    const [event] = await stage.sent()
    expect(event?.properties).toMatchObject({ $ai_stream_status: 'timeout', $ai_error_type: 'timeout' })
  })

  it.each(['unread', 'half read'])('is dropped %s', async (how) => {
    const played = await begun(() => {})
    // In a function of its own, so that nothing of the response is left on the stack.
    await (async () => {
      const response = await stage.client.fetch(played.chat, post(STREAMED))
      if (how === 'half read') await response.body?.getReader().read()
    })()
    await eventually(() => {
      global.gc?.()
      return played.left()
    }, 'the connection is given up')
    await eventually(() => stage.client.stats().captured > 0, 'the call is recorded')
    const [event] = await stage.sent()
    expect(event?.properties).toMatchObject({ $ai_stream_status: 'abandoned' })
  })
})

describe('a stream that was read to its end', () => {
  // What is registered for its finalization is kept by every collection but a full one.
  it.each(['json', 'reader', 'iterator'])('is freed by a small collection: %s', async (how) => {
    await stage.play(() => {})
    const inner = async () =>
      new Response(completion('hello'), { headers: { 'content-type': 'application/json' } })
    const observed = stage.around(inner)
    const call = async (n: number) => {
      const content = String(n).repeat(50_000)
      const body = JSON.stringify({ model: 'gpt-5-mini', messages: [{ role: 'user', content }] })
      const response = await observed('https://api.perplexity.ai/chat/completions', post(body))
      const stream = response.body as ReadableStream<Uint8Array>
      if (how === 'json') await response.json()
      else if (how === 'iterator') for await (const _ of stream);
      else for (const reader = stream.getReader(); !(await reader.read()).done; );
    }
    const small = () => (global.gc as (options: { type: 'minor' }) => void)({ type: 'minor' })
    for (let n = 10; n < 20; n++) await call(n)
    global.gc?.()
    const before = process.memoryUsage().heapUsed
    for (let n = 10; n < 90; n++) await call(n)
    await pause(10)
    small()
    small()
    // The bodies alone are 8 MB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(4_000_000)
  })
})

describe('a stream whose reader nobody holds', () => {
  it('brings the piece that is waited for', async () => {
    const played = await stage.play(async (_, response) => {
      response.writeHead(200, STREAM).flushHeaders()
      await pause(200)
      response.end(chunk('late', 'stop') + DONE)
    })
    const body = async () => (await stage.client.fetch(played.chat, post(STREAMED))).body as ReadableStream
    const steps: (() => Promise<{ value?: Uint8Array | undefined }>)[] = [
      async () => (await body()).getReader().read(),
      async () => (await body()).getReader({ mode: 'byob' }).read(new Uint8Array(1000)),
      async () => (await body()).values().next(),
      async () => new Response(await body()).body?.getReader().read() as never,
    ]
    const waiting = Promise.all(steps.map((step) => step()))
    for (let n = 0; n < 10; n++) {
      await pause(15)
      global.gc?.()
    }
    for (const { value } of await waiting) expect(Buffer.from(value ?? []).toString()).toContain('late')
  })
})

describe('a call without an answer', () => {
  it('is aborted, or runs out of time', async () => {
    const played = await stage.play(() => {})
    const stop = new AbortController()
    const waiting = stage.client.fetch(played.chat, post(STREAMED, { signal: stop.signal }))
    await pause(30)
    stop.abort()
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' })
    const signal = AbortSignal.timeout(30)
    const late = stage.client.fetch(played.chat, post(PLAIN, { signal }))
    await expect(late).rejects.toMatchObject({ name: 'TimeoutError' })
    const events = await stage.sent()
    const byStream = new Map(events.map((event) => [event.properties.$ai_stream, event.properties]))
    expect(byStream.get(true)).toMatchObject({ $ai_stream_status: 'abandoned' })
    expect(byStream.get(false)).toMatchObject({ $ai_error_type: 'timeout' })
    expect(byStream.get(true)?.$ai_http_status).toBeUndefined()
  })
})

describe('reading', () => {
  it('is done when the consumer reads, and no sooner', async () => {
    await stage.play(() => {})
    let pulls = 0
    const inner = async () => {
      const body = new ReadableStream<Uint8Array>(
        {
          pull(controller) {
            pulls++
            controller.enqueue(Buffer.from(chunk('x')))
          },
        },
        { highWaterMark: 0 },
      )
      return new Response(body, { headers: STREAM })
    }
    const response = await stage.around(inner)('https://api.perplexity.ai/chat/completions', post(STREAMED))
    const reader = (response.body as ReadableStream).getReader()
    expect(reader).toBeInstanceOf(ReadableStreamDefaultReader)
    await pause(20)
    expect(pulls).toBe(0)
    for (let i = 1; i <= 3; i++) {
      await reader.read()
      await pause(5)
      expect(pulls).toBe(i)
    }
    reader.releaseLock()
    expect(response.body?.locked).toBe(false)
    await response.body?.cancel()
  })

  it("keeps the consumer's pauses apart from the time of the provider", async () => {
    const played = await stage.play(async (_, response) => {
      await pause(60)
      response.writeHead(200, STREAM)
      for (const piece of ['a', 'b']) {
        await pause(60)
        response.write(chunk(piece))
      }
      response.end(`${chunk('c', 'stop')}data: [DONE]\n\n`)
    })
    const response = await stage.client.fetch(played.chat, post(STREAMED))
    for await (const _ of response.body as ReadableStream) await pause(500)
    const [event] = await stage.sent()
    const { $ai_latency, $ai_consumer_pause, $ai_time_to_first_token } = event?.properties ?? {}
    expect($ai_consumer_pause).toBeGreaterThan(0.9)
    expect($ai_time_to_first_token).toBeGreaterThan(0.1)
    expect($ai_time_to_first_token).toBeLessThan(0.9)
    expect($ai_latency).toBeLessThan(0.9)
  })
})

describe('usage', () => {
  const usage = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
  const answer: Parameters<typeof provider>[0] = (request, response) => {
    const asked = request.body.includes('"include_usage":true')
    response.writeHead(200, STREAM).end(chunk('hi', 'stop') + (asked ? usage : '') + DONE)
  }

  it('is asked for where nobody spoke, and not shown', async () => {
    const played = await stage.play(answer, 'openai')
    const init = Object.freeze(
      post(STREAMED, { headers: Object.freeze({ 'Content-Length': `${STREAMED.length}` }) as never }),
    )
    const text = await (await stage.client.fetch(played.chat, init)).text()
    const bytes = { ...init, body: new TextEncoder().encode(STREAMED) }
    expect(await (await stage.client.fetch(played.chat, bytes)).text()).toBe(text)
    expect(text).toBe(`${chunk('hi', 'stop')}data: [DONE]\n\n`)
    expect(init.body).toBe(STREAMED)
    for (const { body } of played.requests) {
      expect(JSON.parse(body)).toEqual({ ...JSON.parse(STREAMED), stream_options: { include_usage: true } })
    }
    for (const { properties } of await stage.sent()) {
      expect(properties).toMatchObject({
        $ai_input_tokens: 3,
        $ai_output_tokens: 1,
        $ai_tokens_source: 'provider',
      })
      expect(properties.$ai_model_parameters).toEqual({ stream: true, model_requested: 'gpt-5-mini' })
    }
  })

  it('is left alone where the caller spoke', async () => {
    const played = await stage.play(answer, 'openai')
    for (const include_usage of [true, false]) {
      const body = JSON.stringify({ ...JSON.parse(STREAMED), stream_options: { include_usage } })
      const text = await (await stage.client.fetch(played.chat, post(body))).text()
      expect(text.includes('prompt_tokens')).toBe(include_usage)
      expect(played.requests.at(-1)?.body).toBe(body)
    }
    expect((await stage.sent()).map((event) => event.properties.$ai_tokens_source)).toEqual([
      'provider',
      'absent',
    ])
  })

  it('is not shown either to who reads on when the call is recorded already', async () => {
    const played = await stage.play(async (request, response) => {
      const asked = request.body.includes('"include_usage":true')
      const all = chunk('a') + chunk('b', 'stop') + (asked ? usage : '') + DONE
      response.writeHead(200, STREAM)
      // No piece is a whole event.
      for (let at = 0; at < all.length; at += 50) {
        response.write(all.slice(at, at + 50))
        await pause(5)
      }
      response.end()
    }, 'openai')
    const response = await stage.client.fetch(played.chat, post(STREAMED))
    const pieces: Uint8Array[] = []
    for await (const piece of response.body as ReadableStream) {
      pieces.push(piece)
      if (pieces.length === 1) await stage.client.shutdown(2000)
    }
    expect(Buffer.concat(pieces).toString()).toBe(chunk('a') + chunk('b', 'stop') + DONE)
  })

  it('is not shown in a clone or its origin either, and counted once', async () => {
    const played = await stage.play(answer, 'openai')
    const bare = chunk('hi', 'stop') + DONE
    const streamed = () => stage.client.fetch(played.chat, post(STREAMED))
    const both = await streamed()
    const twin = both.clone()
    expect(await Promise.all([both.text(), twin.text()])).toEqual([bare, bare])
    const left = await streamed()
    const read = left.clone()
    void left.body?.cancel()
    expect(await read.text()).toBe(bare)
    const one = await streamed()
    const [two, three] = [one.clone(), one.clone()]
    expect(await Promise.all([three, two, two.clone(), one].map((each) => each.text()))).toEqual(
      Array(4).fill(bare),
    )
    const none = await streamed()
    const nobody = none.clone()
    await Promise.all([none.body?.cancel(), nobody.body?.cancel()])
    const events = await stage.sent()
    expect(events.map(({ properties: p }) => [p.$ai_stream_status, p.$ai_output_tokens])).toEqual([
      ['complete', 1],
      ['complete', 1],
      ['complete', 1],
      ['abandoned', undefined],
    ])
  })

  it('is asked for once where observed fetches call each other later, and not shown', async () => {
    const played = await stage.play(answer, 'openai')
    const outer = stage.around(async (input, init) => {
      await pause(1)
      return stage.client.fetch(input, init)
    })
    const response = await outer(played.chat, post(STREAMED))
    expect(await response.text()).toBe(chunk('hi', 'stop') + DONE)
    const events = await stage.sent()
    expect(events.map((event) => event.properties.$ai_input_tokens)).toEqual([3])
  })

  it('is not asked for where a header speaks for the body', async () => {
    const played = await stage.play(answer, 'openai')
    const plain = { 'content-type': 'application/json', 'x-request-id': 'a' }
    const signed = { ...plain, 'X-Gateway-Signature': 'b' }
    for (const headers of [plain, signed, new Headers(signed), Object.entries(signed)]) {
      const sent = { ...post(STREAMED), headers: headers as Record<string, string> }
      expect(await (await stage.client.fetch(played.chat, sent)).text()).toBe(chunk('hi', 'stop') + DONE)
    }
    expect(played.requests.map(({ body }) => body === STREAMED)).toEqual([false, true, true, true])
  })

  it('is not asked for where a copy of the options would lack some', async () => {
    const played = await stage.play(answer, 'openai')
    const inherited = Object.assign(Object.create({ method: 'POST' }), { body: STREAMED })
    class Computed {
      get method() {
        return 'POST'
      }
      body = STREAMED
    }
    for (const init of [inherited, new Computed(), Object.assign(Object.create(null), post(STREAMED))])
      expect(await (await stage.client.fetch(played.chat, init)).text()).toBe(chunk('hi', 'stop') + DONE)
    expect(played.requests.map(({ body }) => body.includes('include_usage'))).toEqual([false, false, true])
  })
})

describe('an answer that does not end', () => {
  it('is let go of when it takes more than all events may, and read on', async () => {
    const played = await stage.play(() => {})
    const client = new Client({
      dir: folder(),
      maxMemory: 4 << 20,
      hosts: { [played.authority]: 'openai' },
    })
    const piece = Buffer.from(chunk('x'.repeat(100_000)))
    let left = 1000
    const endless = new ReadableStream<Uint8Array>(
      { pull: (controller) => (left-- > 0 ? controller.enqueue(piece) : controller.close()) },
      { highWaterMark: 0 },
    )
    const inner = async () => new Response(endless, { headers: STREAM })
    const { fetch } = client.wrap({ fetch: inner as Fetch, baseURL: '', withOptions: () => undefined })
    global.gc?.()
    const before = process.memoryUsage.rss()
    let size = 0
    const response = await fetch(played.chat, post(STREAMED))
    for await (const { length } of response.body as ReadableStream<Uint8Array>) size += length
    expect(size).toBe(1000 * piece.length)
    expect(process.memoryUsage.rss() - before).toBeLessThan(60 << 20)
    expect(await client.shutdown()).toMatchObject({ captured: 1, dropped: { overflow: 1 } })
  })
})

describe('a reader that gives its lock back', () => {
  it('while it waits, or is told to cancel later, is no end of the call', async () => {
    const played = await stage.play(async (_, response) => {
      response.writeHead(200, STREAM).flushHeaders()
      await pause(50)
      response.end(chunk('hi', 'stop') + DONE)
    })
    const { body } = await stage.client.fetch(played.chat, post(STREAMED))
    const reader = (body as ReadableStream).getReader()
    const waiting = reader.read()
    reader.releaseLock()
    await expect(waiting).rejects.toThrow(TypeError)
    await expect(reader.cancel()).rejects.toThrow(TypeError)
    for await (const piece of body as ReadableStream) expect(Buffer.from(piece).toString()).toContain('hi')
    const [event] = await stage.sent()
    expect(event?.properties).toMatchObject({ $ai_stream_status: 'complete', $ai_stop_reason: 'stop' })
  })
})
