import type { Listener } from './recorder.js'
import { halving, observeStream, unlisten } from './stream.js'

type Signal = AbortSignal | null | undefined

/**
 * Listens also where a response passes by the methods of its stream: newer versions of Node when it is cloned, Bun and
 * Deno also when all of it is read at once.
 * @internal
 */
export function observeResponse(response: Response, listener: Listener, signal: Signal): void {
  unseen ??= whatPassesBy()
  if (!Object.isExtensible(response)) return
  if (unseen.clones) observeClones(response, listener, signal)
  if (unseen.reading) observeReading(response)
}

/** Whether what was only asked for by us can be hidden whichever way a response is read. @internal */
export function hidesAll(): boolean {
  unseen ??= whatPassesBy()
  return !unseen.reading
}

function observeClones(response: Response, listener: Listener, signal: Signal): void {
  const { clone } = response
  if (typeof clone !== 'function') return
  const value = function (this: Response): Response {
    halving.own = false
    const twin = clone.call(this)
    if (halving.own) return twin
    try {
      unlisten(listener)
      for (const [at, half] of halves(listener).entries()) {
        const one = at === 0 ? response : twin
        if (one.body) observeStream(one.body, half, signal, false)
        observeResponse(one, half, signal)
      }
    } catch {
      listener.trouble()
    }
    return twin
  }
  Object.defineProperty(response, 'clone', { value, writable: true, configurable: true })
}

/** What reads all of a response; types that know Node 20 alone lack one of them. */
const WHOLE = ['arrayBuffer', 'blob', 'bytes', 'formData', 'json', 'text'] as 'text'[]

/** Has it read through its stream; what comes of that is made by the stack, from all the pieces. */
function observeReading(response: Response): void {
  for (const name of WHOLE) {
    const method: unknown = response[name]
    if (typeof method !== 'function') continue
    const value = async function (this: Response): Promise<unknown> {
      const { body } = response
      if (this !== response || !body || body.locked || response.bodyUsed) return method.call(this)
      const pieces: Uint8Array<ArrayBuffer>[] = []
      for await (const piece of body as AsyncIterable<Uint8Array<ArrayBuffer>>) pieces.push(piece)
      const type = response.headers.get('content-type')
      const whole = new Response(new Blob(pieces), type === null ? {} : { headers: { 'content-type': type } })
      return whole[name]()
    }
    Object.defineProperty(response, name, { value, writable: true, configurable: true })
  }
}

let unseen: { clones: boolean; reading: boolean } | undefined

/** What the responses of this runtime do without a method of their stream. */
function whatPassesBy() {
  const uses = (method: 'tee' | 'getReader', act: (response: Response) => unknown): boolean => {
    const response = new Response(' ')
    let used = false
    const value = function (this: object, ...args: []): unknown {
      used = true
      return Object.getPrototypeOf(this)[method].apply(this, args)
    }
    Object.defineProperty(response.body, method, { value })
    void act(response)
    return used
  }
  try {
    const clones = !uses('tee', (response) => response.clone())
    return { clones, reading: !uses('getReader', (response) => response.text()) }
  } catch {
    // There are none of the runtime's own.
    return { clones: false, reading: false }
  }
}

/**
 * The halves of a body that was cloned: each byte counts for the one that reads it first, and it is left when all have
 * left it.
 */
function halves(of: Listener): [Listener, Listener] {
  let furthest = 0
  let left = 2
  const half = (): Listener => {
    let at = 0
    let gone = false
    const sieve = of.newSieve()
    const piece = (piece: Uint8Array): void => {
      at += piece.length
      if (at > furthest) of.piece(piece.subarray(Math.max(0, piece.length - (at - furthest))))
      furthest = Math.max(furthest, at)
    }
    return {
      filtered: of.filtered,
      reading: () => of.reading(),
      piece,
      pass(whole, owned) {
        piece(whole)
        return sieve.pass(whole, owned)
      },
      rest: () => sieve.rest(),
      newSieve: () => of.newSieve(),
      end(end, error) {
        if (end === 'abandoned') {
          if (gone) return
          gone = true
          left--
          if (left > 0) return
        }
        of.end(end, error)
      },
      fail: (...args) => of.fail(...args),
      trouble: () => of.trouble(),
    }
  }
  return [half(), half()]
}
