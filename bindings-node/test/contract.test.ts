import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { chunk, pause, post, STREAM, STREAMED, stageOfTests } from './servers.ts'

const stage = stageOfTests()

const DONE = 'data: [DONE]\n\n'
const PIECES = [chunk('Hel'), chunk('lo'), chunk('!', 'stop'), DONE]
const BROKEN = new Error('the provider is gone')

/** What its source sees of a stream, and what brings it on. */
interface Source {
  log: string[]
  /** Lets the next piece come. */
  next: () => void
}

type Body = ReadableStream<Uint8Array>
type Steps = (body: Body, note: (what: unknown) => void, source: Source) => Promise<void>

/** What was seen, in words that can be compared: the same error is the same object. */
function word(what: unknown): unknown {
  if (what === BROKEN) return 'the very error'
  if (what instanceof Error) return `${what.name}${'code' in what ? ` ${what.code}` : ''}`
  if (what instanceof Uint8Array) return Buffer.from(what).toString()
  if (what !== null && typeof what === 'object' && 'done' in what && 'value' in what)
    return { done: what.done, value: word(what.value) }
  return what
}

const outcome = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => ['gave', word(value)],
    (error: unknown) => ['threw', word(error)],
  )
function tried(step: () => unknown): unknown {
  try {
    return ['gave', word(step())]
  } catch (error) {
    return ['threw', word(error)]
  }
}
/** Whether a promise is settled by now. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  const open = Symbol('open')
  await pause(5)
  return (await Promise.race([promise.catch(() => {}), Promise.resolve(open)])) !== open
}

/** The steps; the same are taken on a bare and on an observed stream. */
const contract: Record<string, Steps> = {
  async 'is a ReadableStream, and its reader is one'(body, note) {
    note(body instanceof ReadableStream)
    note(Object.prototype.toString.call(body))
    const reader = body.getReader()
    note(reader instanceof ReadableStreamDefaultReader)
    note(Object.prototype.toString.call(reader))
    note(reader.constructor === ReadableStreamDefaultReader)
    await reader.cancel()
  },
  async 'is locked by one reader at a time'(body, note) {
    note(body.locked)
    const reader = body.getReader()
    note(body.locked)
    for (const step of [
      () => body.getReader(),
      () => body.values(),
      () => body.tee(),
      () => body.pipeThrough(new TransformStream()),
    ])
      note(tried(step))
    note(await outcome(body.cancel()))
    note(await outcome(body.pipeTo(new WritableStream())))
    note(await outcome(reader.read()))
    reader.releaseLock()
    note(body.locked)
    const other = body.getReader()
    note(await outcome(other.read()))
    note(await outcome(reader.read()))
    note(await outcome(reader.cancel()))
    note(await outcome(reader.closed))
    note(tried(() => reader.releaseLock()))
    await other.cancel()
  },
  async 'goes on where the reader before left'(body, note) {
    for (let n = 0; n < 5; n++) {
      const reader = body.getReader()
      note(await outcome(reader.read()))
      reader.releaseLock()
    }
  },
  async 'says when it is closed'(body, note) {
    const reader = body.getReader()
    const closed = reader.closed
    note(reader.closed === closed)
    note(await settled(closed))
    for (const _ of [...PIECES, '']) note(await outcome(reader.read()))
    note(await outcome(closed))
    note(await outcome(reader.read()))
    note(await outcome(reader.cancel('late')))
    reader.releaseLock()
    note(await outcome(reader.closed))
    note(body.locked)
  },
  async 'refuses what waits when the lock is released'(body, note, source) {
    source.next = () => {}
    const reader = body.getReader()
    const waiting = outcome(reader.read())
    const closed = outcome(reader.closed)
    await pause(5)
    reader.releaseLock()
    note(await waiting)
    note(await closed)
    note(body.locked)
  },
  async 'answers reads in their order'(body, note) {
    const reader = body.getReader()
    const all = [...PIECES, '', ''].map(() => outcome(reader.read()))
    note(await Promise.all(all))
  },
  async 'cancels with the reason'(body, note) {
    const reader = body.getReader()
    note(await outcome(reader.read()))
    note(await outcome(reader.cancel('enough')))
    note(await outcome(reader.read()))
    note(await outcome(reader.closed))
  },
  async 'cancels without a reader'(body, note) {
    note(await outcome(body.cancel('enough')))
    note(body.locked)
    note(await outcome(body.getReader().read()))
  },
  async 'is left by a break'(body, note) {
    for await (const value of body) {
      note(word(value))
      break
    }
    note(body.locked)
    note(await outcome(body.getReader().read()))
  },
  async 'is kept through a break where asked to'(body, note) {
    for await (const value of body.values({ preventCancel: true })) {
      note(word(value))
      break
    }
    note(body.locked)
    for await (const value of body) note(word(value))
    note(body.locked)
  },
  async 'is left by a throw'(body, note) {
    note(
      await outcome(
        (async () => {
          for await (const _ of body) throw BROKEN
        })(),
      ),
    )
    note(body.locked)
  },
  async 'has an iterator that ends once'(body, note) {
    const pieces = body.values()
    note(body.locked)
    note(pieces[Symbol.asyncIterator]() === pieces)
    for (const _ of [...PIECES, '', '']) note(await outcome(pieces.next()))
    note(body.locked)
    note(await outcome(pieces.return?.('x' as never) as Promise<unknown>))
    note('throw' in pieces)
  },
  async 'answers steps of its iterator in their order'(body, note) {
    const pieces = body.values()
    note(await Promise.all([...PIECES, '', ''].map(() => outcome(pieces.next()))))
  },
  async 'lets a step that waits end before it is left'(body, note, source) {
    const on = source.next
    source.next = () => {}
    const pieces = body.values()
    const waiting = pieces.next()
    const left = pieces.return?.('enough' as never) as Promise<unknown>
    const after = pieces.next()
    note([await settled(waiting), await settled(left), await settled(after)])
    source.next = on
    on()
    note(await outcome(waiting))
    note(await outcome(left))
    note(await outcome(after))
    note(body.locked)
  },
  async 'lets a step that waits end before it is left and kept'(body, note, source) {
    const on = source.next
    source.next = () => {}
    const pieces = body.values({ preventCancel: true })
    const waiting = pieces.next()
    const left = pieces.return?.() as Promise<unknown>
    note([await settled(waiting), await settled(left), body.locked])
    source.next = on
    on()
    note(await outcome(waiting))
    note(await outcome(left))
    note(body.locked)
    await body.cancel()
  },
  async 'is locked by a pipe until its end, and not for good'(body, note) {
    const seen: unknown[] = []
    const piping = body.pipeTo(new WritableStream({ write: (piece) => void seen.push(word(piece)) }))
    note(body.locked)
    note(await outcome(piping))
    note(seen)
    note(body.locked)
    note(await outcome(body.getReader().read()))
  },
  async 'is locked by a pipe through until its end, and not for good'(body, note) {
    const through = body.pipeThrough(new TextDecoderStream() as never)
    note(body.locked)
    for await (const text of through) note(text)
    await pause(1)
    note(body.locked)
    note(await outcome(body.cancel()))
  },
  async 'is left by what it is piped into'(body, note) {
    const left = new WritableStream({ write: () => Promise.reject(BROKEN) })
    note(await outcome(body.pipeTo(left)))
    note(body.locked)
    note(await outcome(body.getReader().read()))
  },
  async 'is left by what it is piped through'(body, note) {
    await body.pipeThrough(new TransformStream()).cancel('enough')
    await pause(1)
    note(body.locked)
  },
  async 'is kept through a broken pipe where asked to'(body, note) {
    const broken = new WritableStream({ write: () => Promise.reject(BROKEN) })
    note(await outcome(body.pipeTo(broken, { preventCancel: true })))
    note(body.locked)
    for await (const value of body) note(word(value))
  },
  async 'is left or kept by a pipe that is aborted while it waits'(body, note, source) {
    const on = source.next
    source.next = () => {}
    for (const preventCancel of [true, false]) {
      const stop = new AbortController()
      const piping = outcome(body.pipeTo(new WritableStream(), { signal: stop.signal, preventCancel }))
      await pause(5)
      stop.abort(BROKEN)
      note(await piping)
      note(body.locked)
      if (!preventCancel) break
      on()
      const reader = body.getReader()
      note(await outcome(reader.read()))
      reader.releaseLock()
    }
    note(await outcome(body.getReader().read()))
  },
  async 'is left by a pipe that was aborted before'(body, note) {
    note(await outcome(body.pipeTo(new WritableStream(), { signal: AbortSignal.abort(BROKEN) })))
    note(body.locked)
  },
  async 'is not locked by a pipe that is refused'(body, note) {
    const taken = new WritableStream()
    taken.getWriter()
    note(await outcome(body.pipeTo(taken)))
    note(await outcome(body.pipeTo(undefined as never)))
    note(tried(() => body.pipeThrough(undefined as never)))
    note(tried(() => body.pipeThrough({ readable: new ReadableStream(), writable: taken })))
    note(body.locked)
    for await (const value of body) note(word(value))
  },
  async 'stays locked by a tee'(body, note) {
    for (const half of body.tee()) note(await new Response(half).text())
    note(body.locked)
  },
  async 'can be shown'(body, note) {
    note(inspect(body))
    const reader = body.getReader()
    note(inspect(reader))
    reader.releaseLock()
    const pieces = body.values()
    note(Object.getPrototypeOf(pieces) !== Object.prototype && Symbol.asyncIterator in pieces)
    note(Symbol.asyncDispose in pieces)
    await pieces.return?.()
  },
  async 'is left before it is read'(body, note) {
    const pieces = body.values()
    note(await outcome(pieces.return?.('enough' as never) as Promise<unknown>))
    note(await outcome(pieces.next()))
    note(body.locked)
  },
  async 'refuses words that it does not know'(body, note) {
    note(tried(() => body.getReader({ mode: 'other' } as never)))
    // It is not a stream of bytes.
    note(tried(() => body.getReader({ mode: 'byob' })))
    note(body.locked)
    note(tried(() => body.values(1 as never)))
    note(body.locked)
    note(tried(() => body.values(null as never) !== undefined))
  },
}

/** The same for one that breaks after a piece. */
const breaking: Record<string, Steps> = {
  async 'gives the error to a reader'(body, note) {
    const reader = body.getReader()
    for (let n = 0; n < 3; n++) note(await outcome(reader.read()))
    note(await outcome(reader.closed))
    note(await outcome(reader.cancel()))
    reader.releaseLock()
    note(await outcome(body.getReader().read()))
  },
  async 'gives the error to an iterator'(body, note) {
    const pieces = body.values()
    for (let n = 0; n < 3; n++) note(await outcome(pieces.next()))
    note(body.locked)
  },
  async 'gives the error to a loop'(body, note) {
    note(
      await outcome(
        (async () => {
          for await (const value of body) note(word(value))
        })(),
      ),
    )
    note(body.locked)
    note(await outcome(body.cancel()))
  },
  async 'gives the error to a pipe'(body, note) {
    note(await outcome(body.pipeTo(new WritableStream({ abort: (why) => note(['aborted', word(why)]) }))))
  },
}

function provider(breaks: boolean) {
  const source: Source = { log: [], next: () => {} }
  let at = 0
  let controller: ReadableStreamDefaultController<Uint8Array>
  source.next = () => {
    if (breaks && at === 1) controller.error(BROKEN)
    else if (at < PIECES.length) controller.enqueue(Buffer.from(PIECES[at++] as string))
    else controller.close()
  }
  const fetch = async () => {
    const body = new ReadableStream<Uint8Array>(
      {
        start(given) {
          controller = given
        },
        pull() {
          source.log.push('pull')
          source.next()
        },
        cancel(reason) {
          source.log.push(`cancel ${String(reason)}`)
        },
      },
      { highWaterMark: 0 },
    )
    return new Response(body, { headers: STREAM })
  }
  return { source, fetch }
}

for (const [what, all] of Object.entries({ contract, breaking })) {
  describe(`an observed stream, as the bare one: ${what}`, () => {
    // Of OpenAI's streams pieces are cut; of the other's none.
    for (const host of ['https://api.openai.com/v1', 'https://api.perplexity.ai']) {
      it.each(Object.keys(all))(`%s, ${host}`, async (name) => {
        await stage.play(() => {})
        const seen: unknown[][] = []
        for (const observed of [false, true]) {
          const { source, fetch } = provider(what === 'breaking')
          const response = await (observed ? stage.around(fetch) : fetch)(
            `${host}/chat/completions`,
            post(STREAMED),
          )
          const notes: unknown[] = []
          await all[name]?.(response.body as Body, (note) => notes.push(note), source)
          seen.push([...notes, source.log])
        }
        expect(seen[0]?.length).toBeGreaterThan(1)
        expect(seen[1]).toEqual(seen[0])
      })
    }
  })
}
