import type { Readable } from 'node:stream'
import { asking, reservationOf } from './budget.js'
import { covered, covering } from './covered.js'
import { observeNodeStream } from './node-stream.js'
import { begin as beginCall, bytesOf, names, type Observing, picked, trouble } from './observing.js'
import type { Recorder } from './recorder.js'
import { hidesAll, observeResponse } from './response.js'
import { observeStream } from './stream.js'

/** Anything that is called like the global `fetch`. */
export type Fetch = typeof globalThis.fetch

type Input = Parameters<Fetch>[0]
type Init = Parameters<Fetch>[1]

/** How a `fetch` is observed. @internal */
export interface ObservingFetch extends Observing {
  /** The `fetch` that does the work; absent: the global one of the moment. */
  inner: Fetch | undefined
  /** False while nothing is to be observed. */
  active?: () => boolean
}

/** The `fetch` of Node itself: what it gives is nobody else's. */
const BUILT_IN = globalThis.fetch

const observers = new WeakMap<object, ObservingFetch>()

/** How this `fetch` is observed, if it is one of ours. @internal */
export function observingOf(fetch: object): ObservingFetch | undefined {
  return observers.get(fetch)
}

/** Set while an observed `fetch` calls the one below it: if that one is observed too, the call is recorded once. */
let inside = false

/** A `fetch` that does what the one below it does, and has the calls to providers recorded. @internal */
export function observe(how: ObservingFetch): Fetch {
  const observed: Fetch = function fetch(this: unknown, input: Input, init?: Init) {
    const inner = how.inner ?? globalThis.fetch
    if (inside || covered() || how.active?.() === false) return inner.call(this, input, init)
    let recorder: Recorder | undefined
    let sent = init
    try {
      recorder = begin(how, input, init)
      if (recorder?.mayAsk && hidesAll()) sent = outgoing(recorder, init)
    } catch {
      trouble(how)
    }
    if (!recorder) return inner.call(this, input, init)
    if (asking.wanted) {
      try {
        reserve(how, recorder, init)
      } catch (error) {
        recorder.discard()
        return Promise.reject(error)
      }
    }
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
  const body = init?.body
  const text = typeof body === 'string' ? body : undefined
  const bytes = text === undefined ? bytesOf(body) : undefined
  const headers = init?.headers ?? request?.headers
  const recorder = beginCall(how, { method, url, headers, text, bytes })
  if (recorder && unread.size > 0) endUnread(recorder)
  if (recorder && request?.body && !body) readAlong(request, recorder)
  return recorder
}

/** Lets the call begin, unless a budget forbids it. */
function reserve(how: Observing, recorder: Recorder, init: Init): void {
  const body = init?.body
  const text = typeof body === 'string' ? body : undefined
  const bytes = text === undefined ? bytesOf(body) : undefined
  recorder.reservation = reservationOf(how, recorder.url, init, text, bytes)
}

/** Reads the body of a request as it is sent. Only where it is JSON: that was made in memory, so a second reader is cheap. */
function readAlong(request: Request, recorder: Recorder): void {
  if (request.bodyUsed || request.body?.locked || !request.headers.get('content-type')?.includes('json'))
    return
  request
    .clone()
    .arrayBuffer()
    .then((body) => {
      recorder.body(new Uint8Array(body))
      endUnread(recorder)
    })
    .catch(() => {})
}

/** What is sent: the caller's own, or a copy of it with usage asked for. */
function outgoing(recorder: Recorder, init: Init): Init {
  // A copy of what inherits its members, or computes them, would lack them.
  if (!isPlain(init)) return init
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

/** Whether it is an object without a class, of whatever realm. */
function isPlain(init: Init): boolean {
  const prototype: object | null = Object.getPrototypeOf(init)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function attempt(
  self: unknown,
  how: ObservingFetch,
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
    response = covering(recorder.url, () => inner.call(self, input, sent))
  } catch (error) {
    return failed(error)
  } finally {
    inside = false
  }
  // Stand-ins in tests give a response as it is.
  return Promise.resolve(response).then((response) => {
    try {
      answered(response, recorder, signal, inner === BUILT_IN)
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

/** Responses that are observed, and by whom: a `fetch` around an observed one gets them too. */
const seen = new WeakMap<Response, Recorder>()

/** Failed answers that nobody has read yet: some SDKs leave an attempt so when they try again. */
const unread = new Set<Recorder>()

/** The same request again: the attempt before is over, read or not. */
function endUnread(recorder: Recorder): void {
  for (const earlier of unread) {
    if (!earlier.repeats(recorder)) continue
    unread.delete(earlier)
    earlier.end('complete')
  }
}

/** The response's head came: its body is listened to from now on. The response itself stays as it is. */
function answered(
  response: Response,
  recorder: Recorder,
  signal: AbortSignal | null | undefined,
  owned: boolean,
) {
  const below = seen.get(response)
  // Recorded below already. But what was asked for here has to be hidden here.
  if (below && (below.ended || !recorder.asks)) {
    recorder.discard()
    return
  }
  below?.discard()
  seen.set(response, recorder)
  const { status, headers } = response
  recorder.response(status, picked(headers, names().response))
  if (status >= 400) {
    for (const earlier of unread) if (earlier.ended) unread.delete(earlier)
    unread.add(recorder)
  }
  const body: unknown = response.body
  if (typeof (body as ReadableStream | null)?.getReader === 'function') {
    observeStream(body as ReadableStream<Uint8Array>, recorder, signal, owned)
    observeResponse(response, recorder, signal)
  } else if (typeof (body as Readable | null)?.on === 'function') {
    observeNodeStream(body as Readable, recorder, signal)
  } else {
    recorder.end('complete')
  }
}
