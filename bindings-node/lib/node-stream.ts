import type { Readable } from 'node:stream'
import type { Recorder } from './recorder.js'

/**
 * Listens to a Node stream, which tells of each piece exactly when its consumer gets it, however that reads. The stream
 * stays the same object. `left`: says whether the consumer broke the call off in another way than by this stream.
 * @internal
 */
export function observeNodeStream(
  body: Readable,
  recorder: Recorder,
  signal: AbortSignal | null | undefined,
  left: () => boolean = () => false,
): void {
  const { emit, read, destroy } = body
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
    error: (error) => (left() ? recorder.end('abandoned') : recorder.fail(error, signal, undefined)),
    close: () => recorder.end('abandoned'),
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
    // Without an error it is the consumer who leaves; the HTTP stack always gives its reason.
    const leaves = !error || (error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE'
    if (leaves && !body.readableEnded) recorder.end('abandoned')
    return destroy.call(body, error)
  })
}
