import type { ReadableStreamReadResult, UnderlyingByteSource, UnderlyingSource } from 'node:stream/web'
import type { Client } from './client.js'
import { native } from './native.js'
import { Recorder } from './recorder.js'
import { currentScope } from './scope.js'

/** Anything that is called like the global `fetch`. */
export type Fetch = typeof globalThis.fetch

type Input = Parameters<Fetch>[0]
type Init = Parameters<Fetch>[1]

/** How a `fetch` is observed. @internal */
export interface Observing {
  /** Who records. Asked at each call, for `init` may come later than `wrap`. */
  client: () => Client
  /** The provider's name, when the application gave it. */
  provider: string | undefined
  /** The `fetch` that does the work; absent: the global one of the moment. */
  inner: Fetch | undefined
  /** The time limit of the SDK on top, in ms. */
  limit: (() => unknown) | undefined
}

const observers = new WeakMap<object, Observing>()

/** How this `fetch` is observed, if it is one of ours. @internal */
export function observingOf(fetch: object): Observing | undefined {
  return observers.get(fetch)
}

/** Set while an observed `fetch` calls the one below it: if that one is observed too, the call is recorded once. */
let inside = false

const headers = native.headerNames()

/** A `fetch` that does what the one below it does, and has the calls to providers recorded. @internal */
export function observe(how: Observing): Fetch {
  const observed: Fetch = function fetch(this: unknown, input: Input, init?: Init) {
    const inner = how.inner ?? globalThis.fetch
    if (inside) return inner.call(this, input, init)
    let recorder: Recorder | undefined
    let sent = init
    try {
      recorder = begin(how, input, init)
      if (recorder) sent = outgoing(recorder, init)
    } catch {
      how.client().note()
    }
    if (!recorder) return inner.call(this, input, init)
    return attempt(this, how, inner, recorder, input, init, sent)
  }
  observers.set(observed, how)
  return observed
}

/** Begins to record, if this is a call to a provider. */
function begin(how: Observing, input: Input, init: Init): Recorder | undefined {
  const request = typeof input === 'object' && 'url' in input ? input : undefined
  const url = typeof input === 'string' ? input : request ? request.url : String(input)
  const method = init?.method ?? request?.method ?? 'GET'
  const client = how.client()
  if (!client.recognises(method, url, how.provider)) return undefined
  const body = init?.body
  const call = client.native.begin(
    method,
    url,
    how.provider,
    currentScope()?.native,
    Date.now(),
    picked(init?.headers ?? request?.headers, headers.request),
    typeof body === 'string' ? body : undefined,
    bytesOf(body),
  )
  return call ? new Recorder(call, client.note) : undefined
}

/** What is sent: the caller's own, or a copy of it with usage asked for. */
function outgoing(recorder: Recorder, init: Init): Init {
  const body = typeof init?.body === 'string' ? init.body : bytesOf(init?.body)
  const instead = body === undefined ? undefined : recorder.outgoing(body)
  if (instead === undefined) return init
  const copy = { ...init, body: instead as NonNullable<Init>['body'] & {} }
  if (init?.headers && picked(init.headers, ['content-length']).length > 0) {
    const fitting = new Headers(init.headers as ConstructorParameters<typeof Headers>[0])
    fitting.set('content-length', String(Buffer.byteLength(instead)))
    copy.headers = fitting
  }
  return copy
}

function attempt(
  self: unknown,
  how: Observing,
  inner: Fetch,
  recorder: Recorder,
  input: Input,
  init: Init,
  sent: Init,
): Promise<Response> {
  const signal = init?.signal ?? (typeof input === 'object' && 'signal' in input ? input.signal : undefined)
  const failed = (error: unknown): never => {
    recorder.fail(error, signal, limitOf(how, init))
    throw error
  }
  let response: Promise<Response>
  inside = true
  try {
    response = inner.call(self, input, sent)
  } catch (error) {
    return failed(error)
  } finally {
    inside = false
  }
  return response.then((response) => {
    try {
      return answered(response, recorder, signal)
    } catch {
      how.client().note()
      recorder.end('abandoned')
      return response
    }
  }, failed)
}

/** The time limit that the SDK has set: in a header in whole seconds, where a call has its own, else on its client. */
function limitOf(how: Observing, init: Init): number | undefined {
  const [, seconds] = picked(init?.headers, ['x-stainless-timeout'])
  const own = how.limit?.()
  if (seconds !== undefined && seconds !== '') return Number(seconds) * 1000
  return typeof own === 'number' ? own : undefined
}

/** The response as the caller gets it. */
function answered(response: Response, recorder: Recorder, signal: AbortSignal | null | undefined): Response {
  const expected = Number(response.headers?.get('content-length') ?? 0)
  recorder.response(response.status, picked(response.headers, headers.response), expected)
  const body: unknown = response.body
  if (body === null || body === undefined) {
    recorder.end('complete')
    return response
  }
  if (typeof (body as ReadableStream).getReader === 'function') {
    return passThrough(response, body as ReadableStream<Uint8Array>, recorder, signal)
  }
  if (typeof (body as NodeJS.ReadableStream).on === 'function') {
    listen(body as NodeJS.ReadableStream, recorder, signal)
  } else {
    recorder.end('complete')
  }
  return response
}

/** Responses that are dropped unread: what reads them is cancelled, as it would be without us, and they are recorded. */
const dropped = new FinalizationRegistry<{
  recorder: Recorder
  reader: ReadableStreamDefaultReader<Uint8Array>
}>(({ recorder, reader }) => {
  recorder.end('abandoned')
  reader.cancel().catch(() => {})
})

/** A response with the same head, whose body is read through the recorder. */
function passThrough(
  response: Response,
  body: ReadableStream<Uint8Array>,
  recorder: Recorder,
  signal: AbortSignal | null | undefined,
): Response {
  // Statuses out of this range cannot be made, and never carry a body.
  if (response.status < 200 || response.status > 599) throw new RangeError('no such response')
  const bytes = hasByobReader(body)
  const reader = body.getReader()
  try {
    const source = new Source(reader, recorder, bytes, signal)
    // A high-water mark of 0: nothing is read that the consumer did not ask for.
    const stream = bytes
      ? new ReadableStream(source as UnderlyingByteSource, { highWaterMark: 0 })
      : new ReadableStream(source as UnderlyingSource, { highWaterMark: 0 })
    // An own fetch may come with a class of its own.
    const Kind =
      response instanceof Response ? Response : ((response as Response).constructor as typeof Response)
    const { status, statusText } = response
    const copy = dressed(new Kind(stream, { status, statusText, headers: response.headers }), response)
    dropped.register(stream, { recorder, reader })
    // Tells of a broken connection or an abort even while nobody reads.
    reader.closed.catch((error) => recorder.fail(error, signal, undefined))
    return copy
  } catch (error) {
    reader.releaseLock()
    throw error
  }
}

/** What a constructed response lacks: where it came from. */
function dressed(copy: Response, original: Response): Response {
  const { url, redirected, type } = original
  const same = { configurable: true }
  Object.defineProperties(copy, {
    url: { value: url, ...same },
    redirected: { value: redirected, ...same },
    type: { value: type, ...same },
    clone: {
      value() {
        return dressed(Object.getPrototypeOf(copy).clone.call(copy), original)
      },
      ...same,
      writable: true,
    },
  })
  return copy
}

function hasByobReader(body: ReadableStream): boolean {
  try {
    body.getReader({ mode: 'byob' }).releaseLock()
    return true
  } catch {
    return false
  }
}

type Controller = ReadableByteStreamController | ReadableStreamDefaultController<Uint8Array>

/** A body that is read when its consumer reads, piece for piece. */
class Source {
  readonly type: 'bytes' | undefined
  /** An error that waits until what was held back is passed on. */
  private late: { error: unknown } | undefined
  private took: ((result: ReadableStreamReadResult<Uint8Array>) => unknown) | undefined
  private readonly failed = (error: unknown): void => this.fail(error)
  private controller: Controller | undefined

  constructor(
    private readonly reader: ReadableStreamDefaultReader<Uint8Array>,
    private readonly recorder: Recorder,
    bytes: boolean,
    private readonly signal: AbortSignal | null | undefined,
  ) {
    this.type = bytes ? 'bytes' : undefined
  }

  pull(controller: Controller): unknown {
    if (this.late) throw this.late.error
    this.controller = controller
    this.took ??= (result) => this.take(controller, result)
    this.recorder.reading()
    return this.reader.read().then(this.took, this.failed)
  }

  cancel(reason: unknown): Promise<void> {
    this.recorder.end('abandoned')
    return this.reader.cancel(reason)
  }

  private take(controller: Controller, { done, value }: ReadableStreamReadResult<Uint8Array>): unknown {
    if (done) {
      const rest = this.recorder.rest()
      if (rest) controller.enqueue(rest as never)
      this.recorder.end('complete')
      controller.close()
      // A reader that brought its own buffer waits for it to be given back.
      if (this.type) (controller as ReadableByteStreamController).byobRequest?.respond(0)
      return
    }
    let seen = value
    if (value instanceof Uint8Array) {
      if (this.recorder.filtered) seen = this.recorder.pass(this.type ? value : value.slice())
      else this.recorder.piece(value)
      if (seen.length === 0 && (this.type || value.length > 0)) {
        return this.reader.read().then(this.took, this.failed)
      }
    }
    controller.enqueue(seen as never)
  }

  private fail(error: unknown): void {
    const rest = this.recorder.rest()
    this.recorder.fail(error, this.signal, undefined)
    if (!rest || !this.controller) throw error
    this.controller.enqueue(rest as never)
    this.late = { error }
  }
}

/** Listens to a Node stream, which tells of each piece exactly when its consumer gets it, however that reads. */
function listen(
  body: NodeJS.ReadableStream,
  recorder: Recorder,
  signal: AbortSignal | null | undefined,
): void {
  const { emit } = body
  body.emit = function (this: NodeJS.ReadableStream, name: string | symbol, ...args: unknown[]): boolean {
    if (name === 'data') {
      recorder.reading()
      const [piece] = args
      if (piece instanceof Uint8Array) recorder.piece(piece)
      else if (typeof piece === 'string') recorder.piece(Buffer.from(piece))
    } else if (name === 'end') recorder.end('complete')
    else if (name === 'error') recorder.fail(args[0], signal, undefined)
    else if (name === 'close') recorder.end('abandoned')
    return emit.call(this, name as string, ...args)
  }
}

/** Of these headers those with a name in the list: names and values in turn. */
function picked(given: unknown, names: string[]): string[] {
  const found: string[] = []
  if (typeof given !== 'object' || given === null) return found
  if (typeof (given as Headers).get === 'function') {
    for (const name of names) {
      const value = (given as Headers).get(name)
      if (value !== null && value !== undefined) found.push(name, String(value))
    }
    return found
  }
  const entries = Symbol.iterator in given ? (given as Iterable<[string, unknown]>) : Object.entries(given)
  for (const [name, value] of entries) {
    const lower = String(name).toLowerCase()
    if (names.includes(lower) && value !== null && value !== undefined) found.push(lower, String(value))
  }
  return found
}

/** The bytes of a body that is in memory as such. */
function bytesOf(body: unknown): Uint8Array | undefined {
  if (body instanceof Uint8Array) return body
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  return body instanceof ArrayBuffer ? new Uint8Array(body) : undefined
}
