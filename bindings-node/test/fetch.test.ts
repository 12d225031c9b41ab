import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { Fetch } from '../dist/index.mjs'
import { completion, PLAIN, pause, post, STREAMED, stageOfTests } from './servers.ts'

const stage = stageOfTests()

describe('a plain call', () => {
  it('gives the very response of the fetch below', async () => {
    const played = await stage.play((_, response) => response.end(completion('hello')))
    let made: Response | undefined
    const observed = stage.around(async (input, init) => {
      made = await fetch(input, init)
      return made
    })
    const response = await observed(played.chat, post(PLAIN))
    expect(response).toBe(made)
    expect(response.url).toBe(played.chat)
    expect(response.bodyUsed).toBe(false)
    expect(await response.text()).toBe(completion('hello'))
    expect(response.bodyUsed).toBe(true)
    await expect(response.text()).rejects.toThrow(TypeError)
    const [event] = await stage.sent()
    expect(event?.properties).toMatchObject({
      $ai_model: 'gpt-5-mini-2025-08-07',
      $ai_input: [{ role: 'user', content: 'hi' }],
      $ai_output_choices: [{ role: 'assistant', content: 'hello' }],
      $ai_http_status: 200,
      $ai_input_tokens: 5,
      $ai_stream: false,
      $ai_lib_language: 'node',
    })
    expect(event?.properties.$ai_latency).toBeGreaterThan(0)
  })

  it.each(['json', 'text', 'arrayBuffer', 'blob', 'bytes'] as const)(
    'is recorded when read by %s()',
    async (how) => {
      if (!(how in Response.prototype)) return
      const played = await stage.play((_, response) => response.end(completion('hello')))
      const [plain, observed] = [
        await fetch(played.chat, post(PLAIN)),
        await stage.client.fetch(played.chat, post(PLAIN)),
      ]
      const read = (response: Response) => response[how as 'text']()
      expect(await read(observed)).toEqual(await read(plain))
      expect((await stage.sent()).map((event) => event.properties.$ai_output_choices)).toEqual([
        [{ role: 'assistant', content: 'hello' }],
      ])
    },
  )

  it('is recorded once when it is cloned, and both can be read', async () => {
    const played = await stage.play((_, response) => response.end(completion('hello')))
    const response = await stage.client.fetch(played.chat, post(PLAIN))
    const twin = response.clone()
    expect(await Promise.all([response.text(), twin.text()])).toEqual([
      completion('hello'),
      completion('hello'),
    ])
    const events = await stage.sent()
    expect(events).toHaveLength(1)
    expect(events[0]?.properties.$ai_output_choices).toEqual([{ role: 'assistant', content: 'hello' }])
  })

  it('is recorded once when an observed fetch is below another', async () => {
    const played = await stage.play((_, response) => response.end(completion('hello')))
    await (await stage.around(stage.client.fetch)(played.chat, post(PLAIN))).text()
    const later = stage.around(async (input, init) => {
      await pause(1)
      return stage.client.fetch(input, init)
    })
    await (await later(played.chat, post(PLAIN))).text()
    expect(await stage.sent()).toHaveLength(2)
  })

  it('leaves all else alone', async () => {
    const played = await stage.play((_, response) => response.end('{}'))
    const seen: unknown[][] = []
    const observed = stage.around(function (this: unknown, ...args) {
      seen.push([this, ...args])
      return fetch(...args)
    })
    const calls: [Parameters<Fetch>[0], RequestInit?][] = [
      [`${played.base}/v1/models`],
      [new URL(`${played.base}/v1/files`), post('x')],
      [new Request(`${played.base}/v1/moderations`, post('{}'))],
      [`${played.chat}`, { method: 'GET' }],
    ]
    for (const [input, init] of calls) await (await observed(input, init)).text()
    expect(seen.map(([, ...args]) => args)).toEqual(calls.map(([input, init]) => [input, init]))
    for (const [at, [, input, init]] of seen.entries()) {
      expect(input).toBe(calls[at]?.[0])
      expect(init).toBe(calls[at]?.[1])
    }
    expect(await stage.sent()).toEqual([])
  })

  it('takes every kind of request', async () => {
    const played = await stage.play((_, response) => response.end(completion('hello')))
    const bytes = new TextEncoder().encode(PLAIN)
    const bodies: NonNullable<RequestInit['body']>[] = [
      PLAIN,
      bytes,
      bytes.buffer,
      new DataView(bytes.buffer),
      Buffer.from(PLAIN),
    ]
    for (const body of bodies) {
      const init = Object.freeze({
        method: 'POST',
        body,
        headers: [['x-stainless-retry-count', '0']],
      }) as RequestInit
      await (await stage.client.fetch(new URL(played.chat), init)).text()
    }
    const events = await stage.sent()
    expect(events.map((event) => event.properties.$ai_input)).toEqual(
      bodies.map(() => [{ role: 'user', content: 'hi' }]),
    )
    expect(played.requests.map((request) => request.body)).toEqual(bodies.map(() => PLAIN))
    // A body that is a stream is the caller's alone.
    const stream = new ReadableStream({
      pull(controller) {
        controller.enqueue(new TextEncoder().encode(PLAIN))
        controller.close()
      },
    })
    const init = { method: 'POST', body: stream, duplex: 'half' } as RequestInit
    await (await stage.client.fetch(played.chat, init)).text()
    await (await stage.client.fetch(new Request(played.chat, post(PLAIN)))).text()
    expect(played.requests.slice(-2).map((request) => request.body)).toEqual([PLAIN, PLAIN])
    expect((await stage.sent()).map((event) => event.properties.$ai_input_tokens)).toEqual([5, 5])
  })

  it('leaves headers that can be gone through once to be sent', async () => {
    const played = await stage.play((_, response) => response.end(completion('hello')))
    const pairs = new Map([['authorization', 'Bearer sk-test']])
    function* generated() {
      yield* pairs
    }
    for (const headers of [pairs.entries(), generated()])
      await (await stage.client.fetch(played.chat, post(STREAMED, { headers } as never))).text()
    expect(played.requests.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer sk-test',
      'Bearer sk-test',
    ])
    expect(await stage.sent()).toHaveLength(2)
  })

  it('may be answered at once, as stand-ins in tests do', async () => {
    await stage.play(() => {})
    const observed = stage.around(() => new Response(completion('mock')) as never)
    const response = await observed('https://api.openai.com/v1/chat/completions', post(PLAIN))
    expect(await response.text()).toBe(completion('mock'))
    expect(await stage.sent()).toHaveLength(1)
  })

  it('may have a body that is a Node stream', async () => {
    const played = await stage.play(() => {})
    const pieces = [completion('hello').slice(0, 40), completion('hello').slice(40)]
    const old = async () => {
      const body = Readable.from(pieces.map((piece) => Buffer.from(piece)))
      return { status: 200, headers: new Headers({ 'content-type': 'application/json' }), body } as never
    }
    const { body } = (await stage.around(old)(played.chat, post(PLAIN))) as unknown as { body: Readable }
    expect((await body.toArray()).map(String)).toEqual(pieces)
    const [event] = await stage.sent()
    expect(event?.properties.$ai_output_choices).toEqual([{ role: 'assistant', content: 'hello' }])
  })

  it('may fail in any way', async () => {
    const played = await stage.play((_, response) =>
      response.writeHead(400).end('{"error":{"message":"no","type":"bad"}}'),
    )
    expect(await (await stage.client.fetch(played.chat, post(PLAIN))).text()).toContain('no')
    const error = new TypeError('fetch failed', {
      cause: Object.assign(new Error('x'), { code: 'ECONNRESET' }),
    })
    await expect(stage.around(() => Promise.reject(error))(played.chat, post(PLAIN))).rejects.toBe(error)
    const thrown = () => {
      throw error
    }
    expect(() => stage.around(thrown)(played.chat, post(STREAMED))).toThrow(error)
    const free = createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    const refused = `http://127.0.0.1:${(free.address() as AddressInfo).port}/v1/chat/completions`
    free.close()
    await expect(stage.client.fetch(refused, post(PLAIN))).rejects.toThrow('fetch failed')
    const events = await stage.sent()
    expect(events.map((event) => event.properties.$ai_error_type).sort()).toEqual(
      ['bad', 'connection_cut', 'connection_cut', 'connection_refused'].sort(),
    )
  })

  it('may be of any size and kind', async () => {
    const bodies = [
      Buffer.from('<html>oops</html>'),
      Buffer.from(''),
      Buffer.from([0xff, 0xfe, 0x00, 0x80]),
      Buffer.from(completion('x'.repeat(30 << 20))),
    ]
    let at = 0
    const played = await stage.play((_, response) => response.end(bodies[at++]))
    for (const body of bodies) {
      const response = await stage.client.fetch(played.chat, post(PLAIN))
      expect(Buffer.from(await response.arrayBuffer()).equals(body)).toBe(true)
    }
    const events = await stage.sent()
    expect(events).toHaveLength(4)
    expect(events[3]?.properties.$ai_output_tokens).toBe(2)
  }, 60_000)
})
