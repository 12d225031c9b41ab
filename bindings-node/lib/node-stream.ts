import type { ClientRequest } from 'node:http'
import type { ClientHttp2Stream } from 'node:http2'
import type { Readable } from 'node:stream'
import { isError } from './errors.js'
import type { Recorder } from './recorder.js'

/** What is said of a connection that went away: Node's own words for it are "aborted", as if somebody had wanted it. */
const CUT = 'Connection closed (ECONNRESET)'

/** Records that the connection broke, with the error that came of it, or none. @internal */
export function broke(recorder: Recorder, error: unknown, signal: AbortSignal | null | undefined): void {
  const plain = error === undefined || (isError(error) && NODES_OWN.test(error.message))
  if (plain && !signal?.aborted) recorder.end('error', CUT)
  else recorder.fail(error, signal, undefined)
}

const NODES_OWN = /^aborted$|^HTTP\/2 stream is abnormally aborted|http2 request did not get a response/

/**
 * Listens to a Node stream, which tells of each piece exactly when its consumer gets it, however that reads. The stream
 * stays the same object.
 * @internal
 */
export function observeNodeStream(
  body: Readable,
  recorder: Recorder,
  signal: AbortSignal | null | undefined,
): void {
  const { emit, read, destroy } = body
  const { close } = body as Partial<ClientHttp2Stream>
  let gone = false
  let tired = false
  /** The consumer broke it off, of itself or because nothing came for too long. */
  const leave = (): void => {
    gone = true
    if (body.readableEnded) return
    if (tired) recorder.end('timeout', 'timed out')
    else recorder.end('abandoned')
  }
  const own = { value: undefined as unknown, writable: true, configurable: true }
  /** What the consumer is to see of the piece at hand. */
  let instead: Uint8Array | string | undefined

  /** Takes note of a piece; says what the consumer is to see of it. */
  const took = (piece: unknown): unknown => {
    const text = typeof piece === 'string'
    if (!text && !(piece instanceof Uint8Array)) return piece
    const bytes = text ? Buffer.from(piece, body.readableEncoding ?? 'utf8') : piece
    // A piece that lay ready was not waited for.
    recorder.reading()
    if (!recorder.filtered) {
      recorder.piece(bytes)
      return piece
    }
    const seen = recorder.pass(bytes, false)
    if (seen === bytes) return piece
    const found = Buffer.from(seen.buffer, seen.byteOffset, seen.length)
    return text ? found.toString(body.readableEncoding ?? 'utf8') : found
  }
  const emitData = (piece: unknown): boolean => {
    let seen = piece
    try {
      seen = took(piece)
    } catch {
      recorder.trouble()
    }
    instead = seen as Uint8Array | string
    const empty = instead !== piece && instead.length === 0
    const heard = empty ? body.listenerCount('data') > 0 : emit.call(body, 'data', seen)
    // Whoever lets it flow waits for the next piece from now on.
    if (body.readableFlowing) recorder.reading()
    return heard
  }
  const observed: Record<string, (first: unknown) => void> = {
    resume: () => recorder.reading(),
    pause: () => recorder.pausing(),
    end: () => {
      const rest = recorder.filtered ? recorder.rest() : undefined
      if (rest && body.listenerCount('data') > 0) emit.call(body, 'data', rest)
      recorder.end('complete')
    },
    timeout: () => {
      tired = true
    },
    error: (error) => (gone ? leave() : broke(recorder, error, signal)),
    // Without an error that was told: HTTP/2 has ends of which nobody is.
    close: () => (gone ? leave() : broke(recorder, undefined, signal)),
  }
  const define = (name: string, value: unknown): void => {
    Object.defineProperty(body, name, { ...own, value })
  }
  define('emit', (name: string | symbol, ...args: unknown[]): boolean => {
    if (name === 'data') return emitData(args[0])
    if (typeof name === 'string' && Object.hasOwn(observed, name)) {
      try {
        observed[name]?.(args[0])
      } catch {
        recorder.trouble()
      }
    }
    return emit.call(body, name as string, ...args)
  })
  define('read', (size?: number): unknown => {
    for (;;) {
      instead = undefined
      const piece: unknown = read.call(body, size)
      if (piece === null) {
        recorder.reading()
        return null
      }
      const seen = instead as Uint8Array | string | undefined
      if (seen === undefined || seen.length > 0) return seen ?? piece
    }
  })
  define('destroy', (error?: Error): unknown => {
    // The HTTP stack gives a reason, or there is nothing left to destroy. Anyone else is the consumer. What it pipes into
    // went away, if that is said to HTTP itself; node-fetch says the same to its own stream when the connection broke.
    const early = (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_STREAM_PREMATURE_CLOSE'
    if ((early && isHttp(body)) || (!error && !closedByOther(body))) leave()
    return destroy.call(body, error)
  })
  // A request can be broken off while its answer is read.
  const { req: request } = body as Readable & { req?: ClientRequest }
  if (request) whenDestroyed(request, leave)
  if (close) {
    define('close', (...args: []): void => {
      if (!closedByOther(body)) leave()
      close.apply(body, args)
    })
  }
}

const isHttp = (body: object): boolean => 'httpVersion' in body || 'session' in body

/** Says when the application breaks a request off; the HTTP stack gives a reason of its own. @internal */
export function whenDestroyed(request: ClientRequest, leave: () => void): void {
  for (const name of ['destroy', 'abort'] as const) {
    const method = request[name] as (...args: unknown[]) => unknown
    const value = (...args: unknown[]): unknown => {
      if (!isOfTheStack(args[0])) leave()
      return method.apply(request, args)
    }
    Object.defineProperty(request, name, { value, writable: true, configurable: true })
  }
}

/** Whether an error comes from the sockets below, and not from the caller. */
const isOfTheStack = (error: unknown): boolean =>
  isError(error) && ('syscall' in error || (error as NodeJS.ErrnoException).code === 'ECONNRESET')

/** Whether a stream of HTTP/2 was ended by the other side, or with its connection. */
function closedByOther(body: Readable): boolean {
  const { closed, session } = body as Readable & Pick<Partial<ClientHttp2Stream>, 'session'>
  return (
    (session !== undefined && closed) || session?.destroyed === true || session?.socket?.destroyed === true
  )
}
