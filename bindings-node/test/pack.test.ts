import { describe, expect, it } from 'vitest'
import { toJson } from '../lib/json.ts'
import { pack } from '../lib/pack.ts'

const bytes = (value: unknown): Buffer => {
  const { memory, length } = pack(value)
  return Buffer.from(memory.subarray(0, length))
}

/** Reads what was packed, as the core does. */
function read(value: unknown): unknown {
  const packed = bytes(value)
  let at = 0
  const count = (): number => {
    at += 4
    return packed.readUInt32LE(at - 4)
  }
  const text = (): string => {
    const short = packed[at++] as number
    const length = short === 255 ? count() : short
    at += length
    return packed.toString('utf8', at - length, at)
  }
  const next = (): unknown => {
    const letter = String.fromCharCode(packed[at++] as number)
    if (letter === 'n') return null
    if (letter === 't' || letter === 'f') return letter === 't'
    if (letter === 'i') return count() | 0
    if (letter === '#') return Number(text())
    if (letter === '"') return text()
    if (letter === '[') return Array.from({ length: count() }, next)
    expect(letter).toBe('{')
    const members: Record<string, unknown> = Object.create(null)
    for (let left = count(); left > 0; left--) {
      const name = text()
      members[name] = next()
    }
    return members
  }
  const seen = next()
  expect(at).toBe(packed.length)
  return seen
}

describe('packed values', () => {
  it('have the bytes that the core reads', () => {
    // As the core's `packed.rs` has it.
    expect(bytes({ a: 'ü', n: [-0.5, -2, true, null] }).toString('latin1')).toBe(
      '{\x02\0\0\0\x01a"\x02\xc3\xbc\x01n[\x04\0\0\0#\x04-0.5i\xfe\xff\xff\xfftn',
    )
  })

  it('are the same as their JSON', () => {
    const texts = [0, 1, 23, 24, 25, 84, 85, 254, 255, 300, 70_000].flatMap((length) =>
      ['x', 'é', '日', '😀', '\0', '\ud800'].map((unit) => unit.repeat(length)),
    )
    const cycle: unknown[] = ['x']
    cycle.push(cycle)
    let deep: unknown = 'end'
    for (let n = 0; n < 100; n++) deep = n % 2 ? [deep] : { deep }
    const given: unknown[] = [
      { texts, names: Object.fromEntries(texts.map((text) => [text, 1])) },
      [
        0,
        -0,
        1,
        -1,
        255,
        256,
        2 ** 31 - 1,
        2 ** 31,
        -(2 ** 31),
        -(2 ** 31) - 1,
        0.1,
        1e21,
        -1e-7,
        2 ** 53,
        Number.MAX_VALUE,
      ],
      { none: undefined, list: [undefined, null], empty: {}, nothing: [] },
      Object.assign(Object.create(null), { __proto__: 1, toJSON: 5 }),
      { toJSON: () => 'shown' },
      { wide: Array.from({ length: 60_000 }, (_, n) => n) },
      { not: [Number.NaN, new Date(0), new Map([['a', 1n]]), Symbol('s'), () => 1, /x/] },
      cycle,
      deep,
      undefined,
      'text',
      new (class {
        a = 1
      })(),
      {
        get broken() {
          throw new Error('no')
        },
      },
    ]
    for (const value of given) expect(read(value)).toEqual(JSON.parse(toJson(value)))
  })

  it('can be packed inside of each other', () => {
    const inner = { text: 'inner'.repeat(10_000) }
    let seen: unknown
    const outer = {
      before: 'b',
      get now() {
        seen = read(inner)
        return 'n'.repeat(100)
      },
      after: ['a'],
    }
    expect(read(outer)).toEqual({ before: 'b', now: 'n'.repeat(100), after: ['a'] })
    expect(seen).toEqual(inner)
  })

  it('leave no more memory behind than is used again', () => {
    const { memory } = pack('x')
    expect(pack('y').memory).toBe(memory)
    expect(pack('x'.repeat(2 << 20)).memory).not.toBe(memory)
    expect(pack('x').memory.length).toBeLessThanOrEqual(1 << 20)
  })
})
