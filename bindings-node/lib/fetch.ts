import type { Client } from './client.js'
import { type Native, native } from './native.js'
import { Recorder } from './recorder.js'
import { currentScope } from './scope.js'
import { observeStream } from './stream.js'

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

let headerNames: ReturnType<Native['headerNames']> | undefined

/** The headers that the core reads. */
function names(): ReturnType<Native['headerNames']> {
  headerNames ??= native().headerNames()
  return headerNames
}

/** A `fetch` that does what the one below it does, and has the calls to providers recorded. @internal */
export function observe(how: Observing): Fetch {
  const observed: Fetch = function fetch(this: unknown, input: Input, init?: Init) {
    const inner = how.inner ?? globalThis.fetch
    if (inside) return inner.call(this, input, init)
    let recorder: Recorder | undefined
    let sent = init
    try {
      recorder = begin(how, input, init)
      if (recorder?.mayAsk) sent = outgoing(recorder, init)
    } catch {
      trouble(how)
    }
    if (!recorder) return inner.call(this, input, init)
    return attempt(this, how, inner, recorder, input, init, sent)
  }
  observers.set(observed, how)
  return observed
}

/** Counts a step of ours that failed. Where not even the core is there, the call goes on all the same. */
function trouble(how: Observing): void {
  try {
    how.client().note()
  } catch {}
}

/** Begins to record, if this is a call to a provider. */
function begin(how: Observing, input: Input, init: Init): Recorder | undefined {
  const request = typeof input === 'object' && 'url' in input ? input : undefined
  const url = typeof input === 'string' ? input : request ? request.url : String(input)
  const method = init?.method ?? request?.method ?? 'GET'
  const client = how.client()
  const known = client.recognises(method, url, how.provider)
  if (known === 0) return undefined
  const body = init?.body
  const text = typeof body === 'string' ? body : undefined
  const bytes = text === undefined ? bytesOf(body) : undefined
  const sent = {
    method,
    url,
    provider: how.provider,
    scope: currentScope()?.native,
    headers: picked(init?.headers ?? request?.headers, names().request),
    text,
    // It is read at the end of the call, when the caller may have other uses for its memory.
    bytes: bytes && Uint8Array.prototype.slice.call(bytes),
  }
  const recorder = new Recorder(client.native, sent, client.note)
  if (known === USAGE && mayStream(text, bytes)) recorder.mayAsk = true
  return recorder
}

/** Recognised, and usage may have to be asked for. */
const USAGE = 2

const mayStream = (text: string | undefined, bytes: Uint8Array | undefined): boolean =>
  text === undefined
    ? bytes !== undefined && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes('"stream"')
    : text.includes('"stream"')

/** What is sent: the caller's own, or a copy of it with usage asked for. */
function outgoing(recorder: Recorder, init: Init): Init {
  const instead = recorder.outgoing()
  if (instead === undefined) return init
  const copy = { ...init, body: instead as NonNullable<Init>['body'] & {} }
  if (init?.headers && picked(init.headers, ['content-length']) !== '') {
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
      answered(response, recorder, signal, inner === globalThis.fetch)
    } catch {
      recorder.trouble()
      recorder.end('abandoned')
    }
    return response
  }, failed)
}

/** The time limit that the SDK has set: in a header in whole seconds, where a call has its own, else on its client. */
function limitOf(how: Observing, init: Init): number | undefined {
  const [, seconds] = picked(init?.headers, ['x-stainless-timeout']).split('\n')
  if (seconds) return Number(seconds) * 1000
  const own = how.limit?.()
  return typeof own === 'number' ? own : undefined
}

/** Responses that are observed: a `fetch` around an observed one gets them too, and records nothing of its own. */
const seen = new WeakSet<Response>()

/** The response's head came: its body is listened to from now on. The response itself stays as it is. */
function answered(
  response: Response,
  recorder: Recorder,
  signal: AbortSignal | null | undefined,
  owned: boolean,
) {
  if (seen.has(response) && !recorder.filtered) {
    recorder.discard()
    return
  }
  seen.add(response)
  const { status, headers } = response
  recorder.response(status, picked(headers, names().response))
  const body: unknown = response.body
  if (typeof (body as ReadableStream | null)?.getReader === 'function') {
    observeStream(body as ReadableStream<Uint8Array>, recorder, signal, owned)
  } else if (typeof (body as NodeJS.ReadableStream | null)?.on === 'function') {
    listen(body as NodeJS.ReadableStream, recorder, signal)
  } else {
    recorder.end('complete')
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

/** Of these headers those with a name in the list, as lines: a name, its value. */
function picked(given: unknown, names: string[]): string {
  let found = ''
  const add = (name: string, value: unknown): void => {
    if (value !== null && value !== undefined)
      found += found === '' ? `${name}\n${value}` : `\n${name}\n${value}`
  }
  if (typeof given !== 'object' || given === null) return found
  if (typeof (given as Headers).get === 'function') {
    for (const name of names) add(name, (given as Headers).get(name))
    return found
  }
  const entries = Symbol.iterator in given ? (given as Iterable<[string, unknown]>) : Object.entries(given)
  for (const [name, value] of entries) {
    const lower = String(name).toLowerCase()
    if (names.includes(lower)) add(lower, value)
  }
  return found
}

/** The bytes of a body that is in memory as such. */
function bytesOf(body: unknown): Uint8Array | undefined {
  if (body instanceof Uint8Array) return body
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  return body instanceof ArrayBuffer ? new Uint8Array(body) : undefined
}
