import type { Client } from './client.js'
import { type Native, native } from './native.js'
import { Recorder } from './recorder.js'
import { scopeOfCall } from './scope.js'

/** How calls are observed. @internal */
export interface Observing {
  /** Who records. Asked at each call, for `init` may come later than `wrap`. */
  client: () => Client
  /** The provider's name, when the application gave it. */
  provider: string | undefined
  /** The time limit of the SDK on top, in ms. */
  limit?: (() => unknown) | undefined
  /** Nobody pointed out these calls: only those are recorded whose address alone shows what they are. */
  certain?: boolean
  /** Where its calls are counted. */
  seen?: Seen | undefined
}

/** What is observed under one name, for `doctor`: silent zero capture is the worst failure. @internal */
export interface Seen {
  what: string
  calls: number
}

/** What a call sends. @internal */
export interface Sending {
  method: string
  url: string
  /** In any of the forms that `fetch` takes, or one that answers `get`. */
  headers: unknown
  /** The body, where it is in memory. */
  text?: string | undefined
  bytes?: Uint8Array | undefined
}

let headerNames: ReturnType<Native['headerNames']> | undefined

/** The headers that the core reads. @internal */
export function names(): ReturnType<Native['headerNames']> {
  headerNames ??= native().headerNames()
  return headerNames
}

/** Counts a step of ours that failed. Where not even the core is there, the call goes on all the same. @internal */
export function trouble(how: Observing): void {
  try {
    how.client().note()
  } catch {}
}

/** Recognised, and usage may have to be asked for. */
const USAGE = 2

/** Begins to record, if this is a call to a provider. @internal */
export function begin(how: Observing, sending: Sending): Recorder | undefined {
  const { method, url, text, bytes } = sending
  const client = how.client()
  const known = client.recognises(method, url, how.provider, how.certain)
  if (known === 0) return undefined
  if (how.seen) how.seen.calls++
  const sent = {
    method,
    url,
    provider: how.provider,
    scope: scopeOfCall(client),
    headers: picked(sending.headers, names().request),
    text,
    // It is read at the end of the call, when the caller may have other uses for its memory.
    bytes: bytes && Uint8Array.prototype.slice.call(bytes),
  }
  const recorder = new Recorder(client, sent, client.note)
  if (known === USAGE && mayStream(text, bytes) && !isSealed(sending.headers)) recorder.mayAsk = true
  return recorder
}

const mayStream = (text: string | undefined, bytes: Uint8Array | undefined): boolean =>
  text === undefined
    ? bytes !== undefined && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes('"stream"')
    : text.includes('"stream"')

const isOnce = (given: object): boolean => 'next' in given && Symbol.iterator in given

const entriesOf = (given: object): Iterable<[string, unknown]> =>
  Symbol.iterator in given ? (given as Iterable<[string, unknown]>) : Object.entries(given)

/** Whether a header speaks for the body, or may do so: not a byte of it is ours to change then. */
function isSealed(given: unknown): boolean {
  if (typeof given !== 'object' || given === null) return false
  // Those that can be gone through once are not ours to look at.
  if (isOnce(given)) return true
  const { seals } = names()
  for (const [name] of entriesOf(given)) {
    const lower = String(name).toLowerCase()
    if (seals.some((seal) => lower.includes(seal))) return true
  }
  return false
}

const FEW = 2

/** Of these headers those with a name in the list, as lines: a name, its value. @internal */
export function picked(given: unknown, names: string[]): string {
  let found = ''
  const add = (name: string, value: unknown): void => {
    if (value !== null && value !== undefined)
      found += found === '' ? `${name}\n${value}` : `\n${name}\n${value}`
  }
  if (typeof given !== 'object' || given === null) return found
  // To ask for each of many takes longer than to go through all that there are, which the SDK or fetch does as well: the order
  // that they are gone through in is made once.
  if (typeof (given as Headers).get === 'function' && (names.length <= FEW || !(Symbol.iterator in given))) {
    for (const name of names) add(name, (given as Headers).get(name))
    return found
  }
  // An iterator can be gone through once, which is the HTTP stack's to do.
  if (isOnce(given)) return found
  for (const [name, value] of entriesOf(given)) {
    const lower = String(name).toLowerCase()
    if (names.includes(lower)) add(lower, value)
  }
  return found
}

/** The bytes of a body that is in memory as such. @internal */
export function bytesOf(body: unknown): Uint8Array | undefined {
  if (body instanceof Uint8Array) return body
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  return body instanceof ArrayBuffer ? new Uint8Array(body) : undefined
}
