/**
 * Values as the core reads them, in memory that is used again and again: `packed.rs` says how. `JSON.stringify` looks at
 * every character, and a text made of many is put together anew to cross the border; both took most of a capture by hand.
 */

import { DEEPEST, MOST_VALUES, toPlain } from './json.js'

const QUOTE = 0x22
const NUMBER = 0x23
const LIST = 0x5b
const FALSE = 0x66
const INTEGER = 0x69
const NULL = 0x6e
const TRUE = 0x74
const MEMBERS = 0x7b

/** Texts up to here are written in a loop: to ask for the encoder takes as long as three times this. */
const SHORT = 24
/** There is so much room before each value: for a letter, a length and what is short. */
const ROOM = 64
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

let memory = Buffer.allocUnsafeSlow(FIRST)
/** How many values may still come. */
let left = 0
/** It was made plain before, and no member says how it wants to be shown. */
let plain = false
let busy = false

/** Packs a value. Whatever it is given, it gives something readable and never throws. @internal */
export function pack(value: unknown): Packed {
  if (busy) return inside(value)
  busy = true
  let length = tried(value, MOST_VALUES, false)
  if (length < 0) length = tried(toPlain(value), Number.POSITIVE_INFINITY, true)
  if (length < 0) length = tried(null, 1, true)
  const packed = { memory, length }
  if (memory.length > MOST_KEPT) memory = Buffer.allocUnsafeSlow(FIRST)
  busy = false
  return packed
}

/** What is packed may have getters, which may pack. */
function inside(value: unknown): Packed {
  const around = { memory, left, plain }
  memory = Buffer.allocUnsafeSlow(FIRST)
  busy = false
  const packed = pack(value)
  ;({ memory, left, plain } = around)
  busy = true
  return packed
}

function tried(value: unknown, most: number, isPlain: boolean): number {
  left = most
  plain = isPlain
  try {
    return put(value, 0, 0)
  } catch {
    return -1 // A member that cannot be read.
  }
}

/** Writes a value and says where it ends; -1: it is not of JSON's own types, or too large or deep. */
function put(value: unknown, at: number, depth: number): number {
  switch (typeof value) {
    case 'string':
      memory[at] = QUOTE
      return text(value, at + 1)
    case 'number':
      if ((value | 0) === value) {
        memory[at] = INTEGER
        return four(value, at + 1)
      }
      if (!Number.isFinite(value)) return -1
      memory[at] = NUMBER
      return text(String(value), at + 1)
    case 'boolean':
      memory[at] = value ? TRUE : FALSE
      return at + 1
    case 'object':
      break
    default:
      return -1
  }
  if (value === null) {
    memory[at] = NULL
    return at + 1
  }
  if (!plain) {
    // What is inside of itself is too deep.
    if (depth >= DEEPEST || --left < 0 || (value as { toJSON?: unknown }).toJSON !== undefined) return -1
  }
  if (Array.isArray(value)) return list(value, at, depth + 1)
  const kind = Object.getPrototypeOf(value)
  return kind === Object.prototype || kind === null ? members(value, at, depth + 1) : -1
}

function list(items: unknown[], start: number, depth: number): number {
  const { length } = items
  memory[start] = LIST
  let at = four(length, start + 1)
  for (let n = 0; n < length; n++) {
    if (at + ROOM > memory.length) grow(at + ROOM)
    at = --left < 0 ? -1 : put(items[n] ?? null, at, depth)
    if (at < 0) break
  }
  return at
}

function members(value: object, start: number, depth: number): number {
  memory[start] = MEMBERS
  let at = start + 5
  let count = 0
  for (const name of Object.keys(value)) {
    const member = (value as Record<string, unknown>)[name]
    if (member === undefined) continue
    if (--left < 0) return -1
    if (at + ROOM > memory.length) grow(at + ROOM)
    at = text(name, at)
    if (at + ROOM > memory.length) grow(at + ROOM)
    at = put(member, at, depth)
    if (at < 0) return -1
    count++
  }
  four(count, start + 1)
  return at
}

function four(value: number, at: number): number {
  memory[at] = value
  memory[at + 1] = value >>> 8
  memory[at + 2] = value >>> 16
  memory[at + 3] = value >>> 24
  return at + 4
}

function text(text: string, start: number): number {
  const { length } = text
  if (length > SHORT) return encoded(text, start)
  let at = start
  memory[at++] = length
  for (let n = 0; n < length; n++) {
    const unit = text.charCodeAt(n)
    if (unit > 0x7f) return encoded(text, start)
    memory[at++] = unit
  }
  return at
}

function encoded(text: string, at: number): number {
  // Three bytes for each unit is the most that there can be.
  const most = text.length < FIRST ? 3 * text.length : Buffer.byteLength(text)
  const start = most < LONG ? at + 1 : at + 5
  if (start + most > memory.length) grow(start + most)
  const size = memory.write(text, start)
  if (most < LONG) memory[at] = size
  else {
    memory[at] = LONG
    four(size, at + 1)
  }
  return start + size
}

function grow(needed: number): void {
  const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * memory.length))
  larger.set(memory)
  memory = larger
}
