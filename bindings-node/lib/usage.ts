/**
 * Cuts out of a piece of a stream what only came because usage was asked for, when the piece has the usual shape: whole
 * events, each one line of compact JSON or `[DONE]`. What is to be cut is the core's to say (`stream_usage.rs`); here is
 * its answer to the usual piece, for asking it takes longer than the cut. Any doubt is the core's to decide.
 */

const LINE_FEED = 0x0a
const SPACE = 0x20
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_LIST = 0x5b
const BACKSLASH = 0x5c
const CLOSE_LIST = 0x5d
const OPEN = 0x7b
const CLOSE = 0x7d

const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
const DATA = ascii('data: ')
const DONE = ascii('[DONE]\n\n')
const USAGE = ascii('"usage"')
const CHOICES = ascii('"choices"')
const NULL = ascii('null')
/** Choices that say nothing, besides `[]`: LiteLLM's proxy sends them along with the counts. */
const EMPTY_CHOICE = ascii('[{"index":0,"delta":{}}]')
const MEMBER = ascii(',"usage":null')
const PADDING = ascii(',"obfuscation":"')
const START = ascii('data: {')
const END = ascii('}\n\n')

/** Eight times as quick as that of `Uint8Array`, and it takes one. */
const indexOf: (this: Uint8Array, byte: number) => number = Buffer.prototype.indexOf

const MOST_CUTS = 64
/** Where the cuts of the piece at hand are: from, to, from, to. */
const cuts = new Int32Array(2 * MOST_CUTS)

/** Memory for what is left of pieces that are not ours: one at a time is the dearest part of a cut. */
class Room {
  #memory: Uint8Array = new Uint8Array(0)
  #taken = 0

  /** What is left of a piece, in memory of its own. */
  without(piece: Uint8Array, count: number): Uint8Array {
    // It may have been transferred away with a piece; then its length is 0.
    if (this.#taken + piece.length > this.#memory.length) {
      // Memory that was zeroed first costs three times all the rest of this; every byte that is shown is written below.
      const fresh = Buffer.allocUnsafeSlow(Math.max(ROOM, piece.length))
      this.#memory = new Uint8Array(fresh.buffer, fresh.byteOffset, fresh.length)
      this.#taken = 0
    }
    const start = this.#taken
    this.#memory.set(piece, start)
    const size = close(this.#memory, start, piece.length, count)
    this.#taken += size
    return new Uint8Array(this.#memory.buffer, this.#memory.byteOffset + start, size)
  }
}
const ROOM = 16 << 10

/** Cuts the pieces of one stream. @internal */
export class Cutter {
  readonly #room = new Room()

  /**
   * What the consumer is to see of a piece that begins with an event, possibly nothing; the piece itself where there is
   * nothing to cut; undefined where the core has to look. `owned`: the piece may be overwritten.
   */
  cut(piece: Uint8Array, owned: boolean): Uint8Array | undefined {
    const count = lastMember(piece) ? 1 : find(piece)
    if (count < 0) return undefined
    if (count === 0) return piece
    if (!owned && piece.constructor === Uint8Array) return this.#room.without(piece, count)
    // A Buffer stays one; and its own `slice` copies nothing.
    const place = owned ? piece : Uint8Array.prototype.slice.call(piece)
    return place.subarray(0, close(place, 0, piece.length, count))
  }
}

/** Closes the cuts of a piece that is so many bytes from `start` on; says how many are left. */
function close(bytes: Uint8Array, start: number, length: number, count: number): number {
  let to = start + (cuts[0] as number)
  let from = start + (cuts[1] as number)
  for (let n = 1; n <= count; n++) {
    const end = start + (n < count ? (cuts[2 * n] as number) : length)
    while (from < end) bytes[to++] = bytes[from++] as number
    from = start + (cuts[2 * n + 1] as number)
  }
  return to - start
}

/**
 * Finds the one cut of the most usual piece: an event that ends with `"usage":null`, or with it and the member that pads
 * the event. The rest of it need not be read for that: see `last_member` of the core, which does the same.
 */
function lastMember(piece: Uint8Array): boolean {
  const brace = piece.length - END.length
  if (!has(piece, 0, START) || !has(piece, brace, END)) return false
  let at = brace
  if (piece[at - 1] === QUOTE) {
    at--
    do at--
    while (at > START.length && piece[at] !== QUOTE && piece[at] !== BACKSLASH)
    at -= PADDING.length - 1
    if (!has(piece, at, PADDING)) return false
  }
  const from = at - MEMBER.length
  if (from < START.length || !has(piece, from, MEMBER)) return false
  if (indexOf.call(piece, LINE_FEED) !== brace + 1) return false
  cuts[0] = from
  cuts[1] = at
  return true
}

/** Finds the cuts and says how many there are; -1: the piece is not of the usual shape. */
function find(piece: Uint8Array): number {
  const { length } = piece
  let count = 0
  let at = 0
  while (at < length) {
    const start = at
    if (!has(piece, at, DATA)) return -1
    at += DATA.length
    if (has(piece, at, DONE)) {
      at += DONE.length
      continue
    }
    if (at >= length || piece[at] !== OPEN) return -1
    let from = -1
    let to = -1
    let counts = false
    let noChoices = false
    do {
      const before = at++
      if (at >= length || piece[at] !== QUOTE) return -1
      const key = at
      at = afterText(piece, at)
      if (at < 0 || at >= length || piece[at] !== COLON) return -1
      const size = at - key
      const value = ++at
      at = afterValue(piece, value)
      if (at < 0) return -1
      if (size === USAGE.length && has(piece, key, USAGE)) {
        if (counts || from >= 0) return -1
        if (piece[value] === OPEN) counts = true
        else if (at - value === NULL.length && has(piece, value, NULL) && piece[before] === COMMA) {
          from = before
          to = at
        } else return -1
      } else if (size === CHOICES.length && has(piece, key, CHOICES)) {
        const length = at - value
        noChoices =
          (length === 2 && piece[value] === OPEN_LIST) ||
          (length === EMPTY_CHOICE.length && has(piece, value, EMPTY_CHOICE))
      }
    } while (at < length && piece[at] === COMMA)
    if (at + 2 >= length || piece[at] !== CLOSE) return -1
    if (piece[at + 1] !== LINE_FEED || piece[at + 2] !== LINE_FEED) return -1
    at += 3
    if (counts && noChoices) {
      from = start
      to = at
    }
    if (from >= 0) {
      if (count === MOST_CUTS) return -1
      cuts[2 * count] = from
      cuts[2 * count + 1] = to
      count++
    }
  }
  return count
}

function has(piece: Uint8Array, at: number, what: Uint8Array): boolean {
  if (at < 0 || at + what.length > piece.length) return false
  for (let n = 0; n < what.length; n++) if (piece[at + n] !== what[n]) return false
  return true
}

/** Behind the text that begins here. */
function afterText(piece: Uint8Array, start: number): number {
  for (let at = start + 1; at < piece.length; at++) {
    const byte = piece[at] as number
    if (byte === QUOTE) return at + 1
    if (byte < SPACE) return -1
    if (byte === BACKSLASH && (++at >= piece.length || (piece[at] as number) < SPACE)) return -1
  }
  return -1
}

/** Behind the value that begins here; there is no white space in it but in texts. */
function afterValue(piece: Uint8Array, start: number): number {
  if (start >= piece.length) return -1
  if (piece[start] === QUOTE) return afterText(piece, start)
  const nested = piece[start] === OPEN || piece[start] === OPEN_LIST
  let depth = 0
  for (let at = start; at < piece.length; at++) {
    const byte = piece[at] as number
    if (byte === QUOTE) {
      if (!nested) return -1
      at = afterText(piece, at) - 1
      if (at < 0) return -1
    } else if (byte <= SPACE) return -1
    else if (byte === OPEN || byte === OPEN_LIST) {
      if (!nested) return -1
      depth++
    } else if (byte === CLOSE || byte === CLOSE_LIST) {
      if (depth === 0) return byte === CLOSE ? at : -1
      if (--depth === 0) return at + 1
    } else if (byte === COMMA && depth === 0) return at
  }
  return -1
}
