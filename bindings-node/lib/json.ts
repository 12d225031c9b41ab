/**
 * JSON of any value, for properties, inputs and outputs. Whatever it is given, it gives something readable and never
 * throws: a property must not make a capture fail.
 */

import { isError } from './errors.js'

/** Deeper than this nobody reads, and the core's parser has an end too. @internal */
export const DEEPEST = 64
/** So that a stray database handle does not become a megabyte. @internal */
export const MOST_VALUES = 50_000

/** A value as JSON text. @internal */
export function toJson(value: unknown): string {
  return JSON.stringify(toPlain(value))
}

/** A value in terms of JSON: nothing in it has to be changed for that. @internal */
export function toPlain(value: unknown): unknown {
  const plain = new Plain().of(value, 0)
  return plain === undefined ? null : plain
}

class Plain {
  private left = MOST_VALUES
  /** What the value is inside of. */
  private readonly around = new Set<object>()

  /** The value in terms of JSON; undefined where JSON leaves a member out. */
  of(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case 'string':
        // A lone surrogate is no text, and the core takes none.
        return value.isWellFormed() ? value : value.toWellFormed()
      case 'number':
        return Number.isFinite(value) ? value : String(value)
      case 'boolean':
      case 'undefined':
        return value
      case 'bigint':
        return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
      case 'symbol':
        return String(value)
      case 'function':
        return guarded(() => `[Function: ${value.name || 'anonymous'}]`, '[Function]')
      default:
        return value === null ? null : this.object(value as object, depth)
    }
  }

  private object(value: object, depth: number): unknown {
    if (this.around.has(value)) return '[Circular]'
    if (depth >= DEEPEST) return '[Too deep]'
    if (--this.left < 0) return '[Too many values]'
    this.around.add(value)
    try {
      return this.readable(value, depth + 1)
    } catch {
      return '[Unreadable]'
    } finally {
      this.around.delete(value)
    }
  }

  private readable(value: object, depth: number): unknown {
    if (Array.isArray(value)) return this.list(value, depth)
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
    if (value instanceof Map) return this.map(value, depth)
    if (value instanceof Set) return this.list(value, depth)
    if (isError(value)) return this.error(value, depth)
    if (ArrayBuffer.isView(value)) return this.bytes(value, depth)
    if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
      return `[${value.constructor.name}: ${value.byteLength} bytes]`
    }
    if (value instanceof RegExp || value instanceof URL || value instanceof URLSearchParams)
      return String(value)
    if (value instanceof Number || value instanceof String || value instanceof Boolean) {
      return this.of(value.valueOf(), depth)
    }
    if (value instanceof Promise) return '[Promise]'
    if (value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef) {
      return `[${value.constructor.name}]`
    }
    const toJSON = guarded(() => (value as { toJSON?: unknown }).toJSON, undefined)
    if (typeof toJSON === 'function') {
      try {
        return this.of(toJSON.call(value, ''), depth)
      } catch {
        // Its own members say more than nothing.
      }
    }
    return this.members(value, depth)
  }

  private list(items: Iterable<unknown>, depth: number): unknown[] {
    const out: unknown[] = []
    for (const item of items) {
      if (this.left < 0) {
        out.push('[Too many values]')
        break
      }
      this.left--
      const plain = this.of(item, depth)
      out.push(plain === undefined ? null : plain)
    }
    return out
  }

  private map(map: Map<unknown, unknown>, depth: number): unknown {
    const named = [...map.keys()].every((key) => typeof key === 'string')
    return named ? this.entries(map as Map<string, unknown>, depth) : this.list(map, depth)
  }

  private error(error: Error, depth: number): unknown {
    const { name, message, stack, cause } = error
    const about = { name, message, ...(stack ? { stack } : {}), ...(cause === undefined ? {} : { cause }) }
    return { ...this.entries(Object.entries(about), depth), ...this.members(error, depth) }
  }

  private bytes(view: ArrayBufferView, depth: number): unknown {
    const numbers = view instanceof Float32Array || view instanceof Float64Array
    if (numbers && view.length <= 4096) return this.list(view, depth)
    return `[${view.constructor.name}: ${view.byteLength} bytes]`
  }

  private members(value: object, depth: number): Record<string, unknown> {
    const names = Object.keys(value)
    return this.entries(
      names.map((name) => [name, guarded(() => (value as Record<string, unknown>)[name], '[Unreadable]')]),
      depth,
    )
  }

  private entries(entries: Iterable<[string, unknown]>, depth: number): Record<string, unknown> {
    // Without a prototype, a member named __proto__ is a member like any other.
    const out: Record<string, unknown> = Object.create(null)
    for (const [name, value] of entries) {
      if (this.left < 0) break
      this.left--
      const plain = this.of(value, depth)
      if (plain !== undefined) out[name.isWellFormed() ? name : name.toWellFormed()] = plain
    }
    return out
  }
}

function guarded<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch {
    return otherwise
  }
}
