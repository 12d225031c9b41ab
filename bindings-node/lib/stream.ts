import type {
  ReadableStreamDefaultReader as DefaultReader,
  ReadableStreamReadResult as ReadResult,
  UnderlyingByteSource,
  UnderlyingSource,
} from 'node:stream/web'
import { inspect } from 'node:util'
import type { Listener } from './recorder.js'

type Bytes = ReadableStream<Uint8Array>
type ByobReader = ReadableStreamBYOBReader

/** How the body of a response is listened to. */
interface Listening {
  recorder: Listener
  signal: AbortSignal | null | undefined
  /** Nobody else has the memory of the pieces, so that they may be overwritten. */
  owned: boolean
  /** Where the stream's own methods are. */
  native: Bytes
}

const LISTENING = Symbol('llmtrail')

interface Observed extends Bytes {
  [LISTENING]: Listening
}

/**
 * Listens to a stream, through the readers that its consumer takes. It stays the same object, and is read no further, no
 * sooner and no later than its consumer does: a second stream around it would cost more than everything else here. Who
 * listened before listens no more.
 * @internal
 */
export function observeStream(
  stream: Bytes,
  recorder: Listener,
  signal: AbortSignal | null | undefined,
  owned: boolean,
): void {
  becomeReaders()
  if (Object.hasOwn(stream, LISTENING)) {
    const listening = (stream as Observed)[LISTENING]
    dropped.unregister(listening.recorder)
    Object.assign(listening, { recorder, signal, owned: false })
    dropped.register(stream, { recorder }, recorder)
    return
  }
  const listening: Listening = { recorder, signal, owned, native: Object.getPrototypeOf(stream) }
  Object.defineProperty(stream, LISTENING, { value: listening })
  // Its methods come from a class between: to define each on the stream takes far longer.
  if (Object.hasOwn(stream, 'getReader')) Object.defineProperties(stream, METHODS)
  else Object.setPrototypeOf(stream, observedLike(listening.native))
  dropped.register(stream, { recorder }, recorder)
}

const likes = new WeakMap<object, object>()

/** The methods, on top of the stream's own. */
function observedLike(native: Bytes): object {
  let like = likes.get(native)
  if (!like) {
    like = Object.create(native, METHODS) as object
    likes.set(native, like)
  }
  return like
}

/**
 * What is dropped before its end: it is recorded, and a reader is cancelled so that its connection becomes free. Nothing
 * stays in here beyond its end: only a full collection would free it, with all that it leads to, and each small one
 * until then would move it about.
 */
const dropped = new FinalizationRegistry<{ recorder: Listener; reader?: DefaultReader | ByobReader }>(
  ({ recorder, reader }) => {
    recorder.end('abandoned')
    reader?.cancel().catch(() => {})
  },
)

const METHODS: PropertyDescriptorMap = {}
const define = (name: PropertyKey, value: (this: Observed, ...args: never[]) => unknown): void => {
  METHODS[name] = { value, configurable: true, writable: true }
}

function getReader(this: Observed, options?: { mode?: 'byob' }): DefaultReader<Uint8Array> | ByobReader {
  const { recorder, native } = this[LISTENING]
  if (options?.mode === undefined)
    return reader(native.getReader.call(this) as DefaultReader<Uint8Array>, this[LISTENING])
  const byob = { mode: options.mode }
  // What is taken out or held back of a piece may not fit into the buffer that the consumer brings: a layer makes it fit.
  // What cannot be had is the stream's own to refuse, before anything is locked.
  if (recorder.filtered && String(options.mode) === 'byob' && isByteStream(this)) {
    const { over, lock } = layer(this)
    lock()
    return over.getReader(byob)
  }
  return byobReader(native.getReader.call(this, byob) as unknown as ByobReader, this[LISTENING])
}

function values(this: Observed, options?: { preventCancel?: boolean }) {
  const listening = this[LISTENING]
  // What is no set of options is the stream's own to refuse, before anything is locked.
  if (
    options !== undefined &&
    options !== null &&
    typeof options !== 'object' &&
    typeof options !== 'function'
  )
    return listening.native.values.call(this, options)
  const inner = listening.native.getReader.call(this) as DefaultReader<Uint8Array>
  return new Pieces(inner, listening, options?.preventCancel === true)
}

define('getReader', getReader)
define('values', values)
define(Symbol.asyncIterator, values)
define('cancel', function (reason?: unknown) {
  const { recorder, native } = this[LISTENING]
  if (!this.locked) recorder.end('abandoned')
  return native.cancel.call(this, reason)
})
/** Set when an observed stream is halved by its own method. @internal */
export const halving = { own: false }

/** Others listen now to what comes of a stream: nothing is meant by its being dropped. @internal */
export function unlisten(listener: Listener): void {
  dropped.unregister(listener)
}

// These read with readers of their own, so they read from a layer.
define('pipeTo', function (...args: Parameters<Bytes['pipeTo']>) {
  if (this.locked) return this[LISTENING].native.pipeTo.apply(this, args)
  const { over, lock, release } = layer(this)
  const piped = over.pipeTo(...args)
  // What is refused locks nothing.
  if (!over.locked) return piped
  lock()
  return piped.finally(release)
})
define('pipeThrough', function (...args: Parameters<Bytes['pipeThrough']>) {
  if (this.locked) return this[LISTENING].native.pipeThrough.apply(this, args)
  const { over, lock } = layer(this, true)
  const through = over.pipeThrough(...args)
  lock()
  return through
})
define('tee', function () {
  halving.own = true
  if (this.locked) return this[LISTENING].native.tee.call(this)
  const { over, lock } = layer(this)
  lock()
  return over.tee()
})

/** Takes note of what was read; says what the consumer is to see of it. `over`: called at the end and at an error. */
function taking(
  read: () => Promise<ReadResult<Uint8Array>>,
  { recorder, signal, owned }: Listening,
  over: () => void,
  released: () => boolean = () => false,
) {
  const took = (result: ReadResult<Uint8Array>): ReadResult<Uint8Array> | Promise<ReadResult<Uint8Array>> => {
    try {
      if (result.done) {
        const rest = recorder.rest()
        if (rest) return { done: false, value: rest }
        recorder.end('complete')
        dropped.unregister(recorder)
        over()
        return result
      }
      const { value } = result
      if (!(value instanceof Uint8Array)) return result
      if (!recorder.filtered) {
        recorder.piece(value)
        return result
      }
      const seen = recorder.pass(value, owned)
      if (seen === value) return result
      if (seen.length > 0 || value.length === 0) return { done: false, value: seen }
    } catch {
      recorder.trouble()
      return result
    }
    recorder.reading()
    return read().then(took, failed)
  }
  const failed = (error: unknown): ReadResult<Uint8Array> => {
    // Refused because the lock was given back: whoever takes it reads on.
    if (released()) throw error
    let rest: Uint8Array | undefined
    try {
      rest = recorder.rest()
      if (!rest) recorder.fail(error, signal, undefined)
    } catch {
      recorder.trouble()
    }
    // The stream keeps its error: the next read brings it.
    if (rest) return { done: false, value: rest }
    dropped.unregister(recorder)
    over()
    throw error
  }
  return { took, failed }
}

/**
 * A reader as the consumer gets it. Only the consumer holds it: when it is gone nobody will read on, whoever else still
 * holds the stream.
 */
function reader(inner: DefaultReader<Uint8Array>, listening: Listening): DefaultReader<Uint8Array> {
  const { recorder } = listening
  // What waits for a piece leads to the reader: its consumer may have kept nothing else.
  const { took, failed } = taking(
    () => inner.read(),
    listening,
    () => dropped.unregister(made),
    () => isReleased(made),
  )
  const read = (): Promise<ReadResult<Uint8Array>> => {
    recorder.reading()
    return inner.read().then(took, failed)
  }
  const made: Reader = new Reader(inner, recorder, read)
  return made
}

/** The same, for a consumer that brings its own buffers. */
function byobReader(inner: ByobReader, listening: Listening): ByobReader {
  const { recorder } = listening
  const nothing = () => Promise.reject(new TypeError('there is no more'))
  const { took, failed } = taking(
    nothing,
    listening,
    () => dropped.unregister(made),
    () => isReleased(made),
  )
  const read = (...args: [Uint8Array]): Promise<unknown> => {
    recorder.reading()
    return (inner.read(...args) as Promise<ReadResult<Uint8Array>>).then(took, failed)
  }
  const made: OwnBufferReader = new OwnBufferReader(inner, recorder, read as ByobReader['read'])
  return made
}

/** Whether a reader has given its lock back. */
let isReleased: (reader: Facade<DefaultReader<Uint8Array> | ByobReader>) => boolean
/** A reader of the stack's own that reads through this one. */
let throughout: (reader: DefaultReader<Uint8Array>) => DefaultReader<Uint8Array>

/** What the two kinds of reader have in common. */
class Facade<R extends DefaultReader<Uint8Array> | ByobReader> {
  readonly read: R['read']
  readonly #inner: R
  readonly #recorder: Listener
  #released = false
  #throughout: DefaultReader<Uint8Array> | undefined

  static {
    isReleased = (reader) => reader.#released
    throughout = (reader) => {
      const facade = reader as unknown as Facade<DefaultReader<Uint8Array>>
      facade.#throughout ??= streamOver(
        () => reader,
        false,
        () => {},
      ).getReader()
      return facade.#throughout
    }
  }

  constructor(inner: R, recorder: Listener, read: R['read']) {
    this.read = read
    this.#inner = inner
    this.#recorder = recorder
    dropped.register(this, { recorder, reader: inner }, this)
  }

  get closed() {
    return this.#inner.closed
  }

  cancel(reason?: unknown): Promise<void> {
    if (!this.#released) this.#recorder.end('abandoned')
    return this.#inner.cancel(reason)
  }

  releaseLock(): void {
    this.#released = true
    dropped.unregister(this)
    this.#inner.releaseLock()
  }

  /** Shown as what it stands for. */
  [inspect.custom](...args: unknown[]): unknown {
    const inner = this.#inner as unknown as Partial<Record<symbol, (...args: unknown[]) => unknown>>
    return inner[inspect.custom]?.(...args) ?? inner
  }
}

class Reader extends Facade<DefaultReader<Uint8Array>> {}
class OwnBufferReader extends Facade<ByobReader> {}

let areReaders = false

/**
 * They are instances of what they stand for, so the methods move to where those of that class come after them. Not before
 * the first stream, for Node loads those classes when they are first named, and that takes as long as the rest of the
 * package.
 */
function becomeReaders(): void {
  if (areReaders) return
  areReaders = true
  for (const [kind, like] of [
    [Reader, ReadableStreamDefaultReader],
    [OwnBufferReader, ReadableStreamBYOBReader],
  ] as const) {
    Object.defineProperties(kind.prototype, Object.getOwnPropertyDescriptors(Facade.prototype))
    Object.defineProperty(kind.prototype, 'constructor', { value: like })
    Object.setPrototypeOf(kind.prototype, like.prototype)
  }
  // Newer versions of Node read in `Readable.fromWeb` by what they keep in a reader, and not by its methods.
  for (const key of Object.getOwnPropertySymbols(new ReadableStream().getReader())) {
    const get = function (this: DefaultReader<Uint8Array>): unknown {
      return throughout(this)[key as never]
    }
    Object.defineProperty(Reader.prototype, key, { get, configurable: true })
  }
  // What the language has for all iterators of this kind.
  const { prototype } = async function* () {}
  Object.setPrototypeOf(Pieces.prototype, Object.getPrototypeOf(Object.getPrototypeOf(prototype)))
}

/**
 * As the stream's own iterator: leaving it early cancels, unless asked not to. It is left only when the steps that wait
 * have ended, for to release the reader sooner would refuse them and lose their pieces.
 */
class Pieces {
  readonly #inner: DefaultReader<Uint8Array>
  readonly #recorder: Listener
  readonly #preventCancel: boolean
  readonly #took: (result: ReadResult<Uint8Array>) => ReadResult<Uint8Array> | Promise<ReadResult<Uint8Array>>
  readonly #failed: (error: unknown) => ReadResult<Uint8Array>
  #over = false
  #leaving = false
  #last: Promise<unknown> | undefined

  constructor(inner: DefaultReader<Uint8Array>, listening: Listening, preventCancel: boolean) {
    const { recorder } = listening
    const { took, failed } = taking(
      () => inner.read(),
      listening,
      () => this.#leave(),
    )
    this.#inner = inner
    this.#recorder = recorder
    this.#preventCancel = preventCancel
    this.#took = took
    this.#failed = failed
    dropped.register(this, { recorder, reader: inner }, inner)
  }

  // One promise more than the stream's own, for this is what every piece costs.
  next(): Promise<ReadResult<Uint8Array>> {
    if (this.#over) return Promise.resolve({ done: true, value: undefined })
    if (this.#leaving) return this.#after(() => ({ done: true, value: undefined }))
    this.#recorder.reading()
    const step = this.#inner.read().then(this.#took, this.#failed)
    this.#last = step
    return step
  }

  return<V>(value: V): Promise<IteratorResult<Uint8Array, V>> {
    this.#leaving = true
    return this.#after(async () => {
      if (!this.#over) {
        if (!this.#preventCancel) this.#recorder.end('abandoned')
        const cancelled = this.#preventCancel ? undefined : this.#inner.cancel(value)
        this.#leave()
        await cancelled
      }
      return { done: true, value }
    })
  }

  /** Takes a step when the one before has ended, however it did. */
  #after<T>(step: () => T | Promise<T>): Promise<T> {
    const after = (this.#last ?? Promise.resolve()).then(step, step)
    this.#last = after
    return after
  }

  [Symbol.asyncIterator]() {
    return this
  }

  #leave(): void {
    this.#over = true
    dropped.unregister(this.#inner)
    this.#inner.releaseLock()
  }
}

/** A stream over an observed one, for what does not read through its methods. `free`: it locks that until the end only. */
function layer(stream: Observed, free = false) {
  let reader: DefaultReader<Uint8Array> | undefined
  const lock = (): DefaultReader<Uint8Array> => {
    reader ??= getReader.call(stream) as DefaultReader<Uint8Array>
    return reader
  }
  const release = (): void => reader?.releaseLock()
  return { over: streamOver(lock, isByteStream(stream), free ? release : () => {}), lock, release }
}

/** A stream that reads nothing which is not asked for. */
function streamOver(readerOf: () => DefaultReader<Uint8Array>, bytes: boolean, atEnd: () => void): Bytes {
  const source = {
    type: bytes ? 'bytes' : undefined,
    async pull(controller: ReadableByteStreamController | ReadableStreamDefaultController<Uint8Array>) {
      try {
        for (;;) {
          const { done, value } = await readerOf().read()
          if (done) {
            controller.close()
            // A reader that brought its own buffer waits for it to be given back.
            if ('byobRequest' in controller) controller.byobRequest?.respond(0)
            atEnd()
            return
          }
          // Streams of bytes take no empty pieces.
          if (!bytes || value.length > 0) {
            controller.enqueue(value as never)
            return
          }
        }
      } catch (error) {
        atEnd()
        throw error
      }
    },
    cancel: (reason: unknown) => readerOf().cancel(reason).finally(atEnd),
  }
  return bytes
    ? new ReadableStream(source as UnderlyingByteSource, { highWaterMark: 0 })
    : new ReadableStream(source as UnderlyingSource, { highWaterMark: 0 })
}

function isByteStream(stream: Observed): boolean {
  try {
    stream[LISTENING].native.getReader.call(stream, { mode: 'byob' }).releaseLock()
    return true
  } catch {
    return false
  }
}
