/**
 * Values as the core reads them, in memory that is used again and again: `packed.rs` says how. `JSON.stringify` looks at
 * every character, and a text made of many is put together anew to cross the border; both took most of a capture by hand.
 */

import { DEEPEST, MOST_VALUES, toPlain } from './json.js'

const QUOTE = 0x22
const NUMBER = 0x23
const LIST = 0x5b
const FALSE = 0x66
const NULL = 0x6e
const TRUE = 0x74
const MEMBERS = 0x7b

/** Texts up to here are written in a loop: to ask for the encoder takes as long as three times this. */
const SHORT = 24
/** From here on a length takes five bytes. */
const LONG = 255
const FIRST = 16 << 10
/** More is not kept for the next one. */
const MOST_KEPT = 1 << 20

/** A packed value: the first bytes of some memory. It is there until the next one is packed. @internal */
export interface Packed {
  readonly memory: Uint8Array
  readonly length: number
}

/** One that is not at work. What is packed may have getters, which may pack. */
let spare: Packer | undefined

/** Packs a value. Whatever it is given, it gives something readable and never throws. @internal */
export function pack(value: unknown): Packed {
  const packer = spare ?? new Packer()
  spare = undefined
  packer.pack(value)
  if (packer.memory.length <= MOST_KEPT) spare = packer
  return packer
}

class Packer implements Packed {
  memory = Buffer.allocUnsafeSlow(FIRST)
  length = 0
  /** How many values may still come. */
  private left = 0
  /** It was made plain before, and no member says how it wants to be shown. */
  private plain = false

  pack(value: unknown): void {
    if (this.tried(value, MOST_VALUES, false)) return
    if (!this.tried(toPlain(value), Number.POSITIVE_INFINITY, true)) this.tried(null, 1, true)
  }

  private tried(value: unknown, most: number, plain: boolean): boolean {
    this.length = 0
    this.left = most
    this.plain = plain
    try {
      return this.value(value, 0)
    } catch {
      return false // A member that cannot be read.
    }
  }

  /** Says whether it is of JSON's own types, and neither too large nor too deep. */
  private value(value: unknown, depth: number): boolean {
    switch (typeof value) {
      case 'string':
        this.letter(QUOTE)
        this.text(value)
        return true
      case 'number':
        if (!Number.isFinite(value)) return false
        this.letter(NUMBER)
        this.text(String(value))
        return true
      case 'boolean':
        this.letter(value ? TRUE : FALSE)
        return true
      case 'object':
        break
      default:
        return false
    }
    if (value === null) {
      this.letter(NULL)
      return true
    }
    if (!this.plain) {
      // What is inside of itself is too deep.
      if (depth >= DEEPEST || --this.left < 0 || (value as { toJSON?: unknown }).toJSON !== undefined)
        return false
    }
    if (Array.isArray(value)) return this.list(value, depth + 1)
    const kind = Object.getPrototypeOf(value)
    return (kind === Object.prototype || kind === null) && this.members(value, depth + 1)
  }

  private list(items: unknown[], depth: number): boolean {
    const { length } = items
    this.letter(LIST)
    this.count(this.length, length)
    this.length += 4
    for (let at = 0; at < length; at++) {
      if (--this.left < 0 || !this.value(items[at] ?? null, depth)) return false
    }
    return true
  }

  private members(value: object, depth: number): boolean {
    this.letter(MEMBERS)
    const start = this.length
    this.length += 4
    let count = 0
    for (const name of Object.keys(value)) {
      const member = (value as Record<string, unknown>)[name]
      if (member === undefined) continue
      this.text(name)
      if (--this.left < 0 || !this.value(member, depth)) return false
      count++
    }
    this.count(start, count)
    return true
  }

  /** Makes sure of room for a short text and what may stand before it, and writes a letter. */
  private letter(letter: number): void {
    this.room(SHORT + 8)
    this.memory[this.length++] = letter
  }

  private count(at: number, value: number): void {
    const { memory } = this
    memory[at] = value
    memory[at + 1] = value >>> 8
    memory[at + 2] = value >>> 16
    memory[at + 3] = value >>> 24
  }

  private text(text: string): void {
    const { length } = text
    if (length > SHORT) {
      this.encoded(text)
      return
    }
    this.room(SHORT + 8)
    const { memory } = this
    let at = this.length
    memory[at++] = length
    for (let n = 0; n < length; n++) {
      const unit = text.charCodeAt(n)
      if (unit > 0x7f) {
        this.encoded(text)
        return
      }
      memory[at++] = unit
    }
    this.length = at
  }

  private encoded(text: string): void {
    // Three bytes for each unit is the most that there can be.
    const most = text.length < FIRST ? 3 * text.length : Buffer.byteLength(text)
    const head = most < LONG ? 1 : 5
    this.room(head + most)
    const size = this.memory.write(text, this.length + head)
    if (head === 1) this.memory[this.length] = size
    else {
      this.memory[this.length] = LONG
      this.count(this.length + 1, size)
    }
    this.length += head + size
  }

  private room(size: number): void {
    const needed = this.length + size
    if (needed <= this.memory.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.memory.length))
    larger.set(this.memory.subarray(0, this.length))
    this.memory = larger
  }
}
