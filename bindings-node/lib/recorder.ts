import type { Client } from './client.js'
import { isError } from './errors.js'
import {
  type EndOfCall,
  type NativeFilter,
  type NativePieces,
  type NativeReservation,
  type NativeScope,
  native,
} from './native.js'
import { Cutter } from './usage.js'

/** Collected pieces are handed to the core when they reach this size, so that no single hand-over is long. */
const SPILL = 256 << 10
const FIRST = 8 << 10
/** Memory of a stream that ended, for the next one: to make it anew each time takes longer than to fill it. */
let spare: Uint8Array | undefined
/** Where marks are put for the core to read, which it does at once. */
let marking: Float64Array | undefined
const MOST_MARKS = 4 << 10

/** From this length on, in characters, a text is handed over as bytes: what the border makes of texts takes more than twice as long. */
const LONG = 8 << 10
const MOST_TEXT = 1 << 20
const encoder = new TextEncoder()
/** Where long texts are put for the core to read, which it does at once. */
let writing = new Uint8Array(0)

/** A text as it crosses the border: as text, or as bytes in its place. */
function crossing(
  text: string | undefined,
  bytes: Uint8Array | undefined,
): [text: string | undefined, bytes: Uint8Array | undefined] {
  if (text === undefined || text.length < LONG || text.length > MOST_TEXT) return [text, bytes]
  // Most of it is ASCII; where much is not, it does not fit and stays a text.
  const room = Math.ceil(text.length * 1.25)
  if (writing.length < room) writing = new Uint8Array(room)
  const { read, written } = encoder.encodeInto(text, writing)
  return read === text.length ? [undefined, writing.subarray(0, written)] : [text, undefined]
}

function handed(marks: number[]): Float64Array {
  if (marks.length > MOST_MARKS) return new Float64Array(marks)
  marking ??= new Float64Array(MOST_MARKS)
  marking.set(marks)
  return marking.subarray(0, marks.length)
}

/** What is sent, as it was when the call began. @internal */
export interface Sent {
  method: string
  url: string
  provider: string | undefined
  scope: NativeScope | undefined
  /** Lines: a name, its value. */
  headers: string
  /** The body, where it is in memory. */
  text: string | undefined
  bytes: Uint8Array | undefined
}

/** Takes out of the pieces of an answer what only came because usage was asked for. */
class Sieve {
  private readonly cutter = new Cutter()
  private filter: NativeFilter | undefined
  /** The consumer has seen whole events; none is held back in the filter. */
  private whole = true

  constructor(
    private readonly status: number,
    private readonly headers: string,
  ) {}

  pass(piece: Uint8Array, owned: boolean): Uint8Array {
    if (this.whole) {
      const seen = this.cutter.cut(piece, owned)
      if (seen) return seen
    }
    this.filter ??= new (native().NativeFilter)(this.status, this.headers)
    const place: Uint8Array = owned ? piece : Uint8Array.prototype.slice.call(piece)
    const length = this.filter.push(place)
    if (piece.length > 0) this.whole = piece.at(-1) === 10 && piece.at(-2) === 10
    return length < 0 ? this.filter.instead() : length === place.length ? place : place.subarray(0, length)
  }

  rest(): Uint8Array | undefined {
    return this.filter?.rest() ?? undefined
  }
}

/** Calls under way. At the end of their client they are recorded as they are. */
const underWay = new Set<Recorder>()

/** Ends the calls that are under way, of a client or all: nobody will read on. @internal */
export function endCalls(client?: Client): void {
  for (const recorder of underWay) if (!client || recorder.client === client) recorder.end('abandoned')
}

/**
 * One call under way: its clock and its bytes, kept on this side of the border for as long as it lasts.
 *
 * Time inside the request and inside reads is the provider's; time between two reads is the consumer's. Nothing here
 * throws: a step that fails is counted and the call goes on.
 * @internal
 */
export class Recorder {
  /** Usage may have to be asked for. */
  mayAsk = false
  /** What it is taken to cost by its budgets. */
  reservation: NativeReservation | undefined
  /** Each piece has to go through `pass`. */
  filtered = false
  /** The content encoding of the pieces was undone already. */
  decoded = true
  private sieve: Sieve | undefined
  private earlier: NativePieces | undefined
  /** Bytes in there. */
  private spilled = 0
  private over = false
  private asked = false
  private status = 0
  private headers = ''
  private headersAt = 0
  private waited = 0
  private paused = 0
  private readonly startedAt = Date.now()
  private waitingSince = performance.now()
  private waiting = true
  private idleSince = 0
  private lastAt = 0
  private bytes: Uint8Array | undefined
  private length = 0
  private marks: number[] = []

  constructor(
    readonly client: Client,
    private readonly sent: Sent,
    /** Counts a step that failed. */
    readonly trouble: () => void,
  ) {
    underWay.add(this)
  }

  /** Where the call goes. */
  get url(): string {
    return this.sent.url
  }

  /** It was handed over. */
  get ended(): boolean {
    return this.over
  }

  /** Usage was asked for. */
  get asks(): boolean {
    return this.asked
  }

  /** Whether another call sends the same. */
  repeats(other: Recorder): boolean {
    const { method, url, text, bytes } = this.sent
    const { sent } = other
    if (url !== sent.url || method !== sent.method || text !== sent.text) return false
    return text !== undefined || (!!bytes && !!sent.bytes && Buffer.compare(bytes, sent.bytes) === 0)
  }

  /** What to send instead of the body, so that the stream reports its usage. */
  outgoing(): string | Uint8Array | undefined {
    const { method, url, provider, text, bytes } = this.sent
    const insertion = native().insertion(this.client.number, method, url, provider, ...crossing(text, bytes))
    if (!insertion) return undefined
    this.asked = true
    const body = text ?? bytes ?? ''
    const at = body.length - insertion.beforeLast
    if (typeof body === 'string') return body.slice(0, at) + insertion.text + body.slice(at)
    return Buffer.concat([body.subarray(0, at), Buffer.from(insertion.text), body.subarray(at)])
  }

  /** The response's head came. */
  response(status: number, headers: string): void {
    this.stopWaiting()
    this.status = status
    this.headers = headers
    this.headersAt = this.waited
    if (this.asked) this.filtered = native().filters(status, headers)
  }

  /** The body that is sent, where it is only known in the course of the call. */
  body(bytes: Uint8Array): void {
    if (!this.over) this.sent.bytes = bytes
  }

  /** The consumer asks for no more for now. */
  pausing(): void {
    this.stopWaiting(true)
  }

  /** The consumer asks for more. */
  reading(): void {
    if (this.waiting) return
    const now = performance.now()
    this.paused += now - this.idleSince
    this.waitingSince = now
    this.waiting = true
  }

  /** A piece came and is passed on as it is. */
  piece(piece: Uint8Array): void {
    this.stopWaiting()
    if (this.over) return
    const end = this.length + piece.length
    const bytes = this.bytes && end <= this.bytes.length ? this.bytes : this.makeRoom(piece.length)
    bytes.set(piece, this.length)
    this.length += piece.length
    this.marks.push(piece.length, this.waited)
  }

  /** A piece came; says what the consumer is to see of it, possibly nothing. `owned`: it may be overwritten. */
  pass(piece: Uint8Array, owned: boolean): Uint8Array {
    // Its consumer reads on also when the call is recorded already, as after a shutdown.
    this.piece(piece)
    this.sieve ??= this.newSieve()
    return this.sieve.pass(piece, owned)
  }

  /** What is still to be passed on before the end or an error. */
  rest(): Uint8Array | undefined {
    return this.sieve?.rest()
  }

  /** What says of the pieces of this answer what a consumer is to see of them. */
  newSieve(): Sieve {
    return new Sieve(this.status, this.headers)
  }

  /** The attempt failed with what the HTTP stack threw. `limit`: a time limit that it may have had, in ms. */
  fail(error: unknown, signal: AbortSignal | null | undefined, limit: number | undefined): void {
    this.stopWaiting()
    // Once there is an answer, the time limits of the SDKs are off.
    const timedOut = this.status === 0 && limit !== undefined && this.waited >= earliest(limit)
    const [end, text] = endOf(error, signal, timedOut)
    this.end(end, text)
  }

  /** The body ended. Only the first call counts. */
  end(end: EndOfCall, error?: string): void {
    if (this.over) return
    this.over = true
    underWay.delete(this)
    this.stopWaiting(end === 'abandoned')
    try {
      const memory = this.bytes
      const bytes = memory?.subarray(0, this.length)
      const marks = bytes && handed(this.marks)
      const at = end === 'abandoned' ? this.lastAt : this.waited
      const { method, url, provider, scope, headers } = this.sent
      const [text, body] = crossing(this.sent.text, this.sent.bytes)
      native().observe(
        this.client.number,
        method,
        url,
        provider,
        scope,
        this.startedAt,
        headers,
        text,
        body,
        this.asked,
        end,
        error,
        at,
        this.paused,
        this.status,
        this.headers,
        this.headersAt,
        this.earlier,
        bytes,
        marks,
        this.decoded,
        this.reservation,
      )
      if (memory && memory.length >= FIRST && memory.length <= SPILL) spare = memory
    } catch {
      this.trouble()
    }
    this.forget()
  }

  /** The call is recorded by another: this one counts for nothing. */
  discard(): void {
    this.over = true
    this.reservation?.release()
    underWay.delete(this)
    this.forget()
  }

  /** Lets go of what is large: a stream that its consumer has read may lead here for long. */
  private forget(): void {
    this.sent.text = this.sent.bytes = undefined
    this.bytes = undefined
    this.earlier = undefined
    this.marks = []
  }

  /** The provider's clock stops. A wait that the consumer broke off brought nothing. */
  private stopWaiting(brokenOff = false): void {
    if (!this.waiting) return
    const now = performance.now()
    this.waited += now - this.waitingSince
    this.idleSince = now
    this.waiting = false
    if (!brokenOff) this.lastAt = this.waited
  }

  private makeRoom(size: number): Uint8Array {
    if (this.length + size > SPILL) this.spill()
    const needed = this.length + size
    if (this.bytes && this.bytes.length >= needed) return this.bytes
    let larger: Uint8Array
    if (this.length > 0 && spare && spare.length >= needed) {
      larger = spare
      spare = undefined
    } else {
      // Most answers come in one piece. The small ones share memory, where it costs next to nothing.
      const room = this.length === 0 ? needed : Math.max(FIRST, needed, Math.min(SPILL, 2 * this.length))
      larger = Buffer.allocUnsafe(room)
    }
    if (this.bytes && this.length > 0) larger.set(this.bytes.subarray(0, this.length))
    this.bytes = larger
    return larger
  }

  private spill(): void {
    if (!this.bytes || this.marks.length === 0) return
    this.earlier ??= new (native().NativePieces)()
    this.earlier.add(this.bytes.subarray(0, this.length), handed(this.marks))
    this.spilled += this.length
    this.length = 0
    this.marks = []
    // It would be refused at its end, and counted, so that is done now: an answer may go on for ever.
    if (this.spilled > this.client.native.maxMemory) this.end('abandoned')
  }
}

/** What a body is listened to by: all of it, or a part. @internal */
export type Listener = Pick<
  Recorder,
  'filtered' | 'reading' | 'piece' | 'pass' | 'rest' | 'newSieve' | 'end' | 'fail' | 'trouble'
>

const TIMEOUTS = new Set([
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'ETIMEDOUT',
])

/**
 * How soon on our clock a timer of so many ms may fire. Node counts it from the time at which its event loop last looked
 * at the clock, which on a busy loop is well before the call.
 */
const earliest = (limit: number): number => limit - Math.min(limit / 10, 250)

/** How a call ended, by what the HTTP stack threw. */
function endOf(
  error: unknown,
  signal: AbortSignal | null | undefined,
  timedOut: boolean,
): [EndOfCall, string] {
  const seen: string[] = []
  let code = ''
  let name = ''
  for (let at = error; isError(at) && seen.length < 5; at = at.cause) {
    const here = 'code' in at && typeof at.code === 'string' ? at.code : ''
    code ||= here
    name ||= at.name === 'Error' || at.name === 'TypeError' ? '' : at.name
    seen.push(here && !at.message.includes(here) ? `${at.message} (${here})` : at.message)
  }
  const text = seen.length > 0 ? seen.join(': ') : String(error)
  const aborted = signal?.aborted || name === 'AbortError' || code === 'ABORT_ERR'
  const reason: unknown = signal?.aborted ? signal.reason : error
  const ownName = isError(reason) ? reason.name === 'TimeoutError' : reason === 'timeout'
  const limit = TIMEOUTS.has(code) || ownName
  if (limit || (aborted && timedOut)) return ['timeout', text]
  return aborted ? ['abandoned', text] : ['error', text]
}
