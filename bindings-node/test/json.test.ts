import { describe, expect, it } from 'vitest'
import { toJson } from '../lib/json.ts'

const json = (value: unknown) => JSON.parse(toJson(value))

describe('JSON of anything', () => {
  it('keeps what JSON can hold', () => {
    const value = { text: 'ü\u0000"', list: [1, null, true, -0.5], nested: { a: {} } }
    expect(json(value)).toEqual(value)
  })

  it('makes readable what JSON cannot hold', () => {
    class Point {
      x = 1
      get secret() {
        return 2
      }
    }
    const value = {
      date: new Date(0),
      noDate: new Date(Number.NaN),
      map: new Map([['a', new Set([1, 2])]]),
      odd: new Map<unknown, unknown>([[1, 'one']]),
      big: 12n,
      huge: 2n ** 64n,
      nan: Number.NaN,
      infinite: -Infinity,
      none: undefined,
      fn: function named() {},
      arrow: (
        () => () =>
          1
      )(),
      symbol: Symbol('s'),
      buffer: Buffer.from('abc'),
      memory: new ArrayBuffer(3),
      vector: new Float32Array([0.5, 1]),
      regexp: /a+/g,
      url: new URL('https://a.example/b'),
      boxed: Object('text'),
      promise: Promise.resolve(1),
      point: new Point(),
      bare: Object.assign(Object.create(null), { a: 1 }),
      hole: [undefined, () => 1],
      surrogate: 'a\ud800b',
    }
    expect(json(value)).toEqual({
      date: '1970-01-01T00:00:00.000Z',
      noDate: 'Invalid Date',
      map: { a: [1, 2] },
      odd: [[1, 'one']],
      big: 12,
      huge: '18446744073709551616',
      nan: 'NaN',
      infinite: '-Infinity',
      fn: '[Function: named]',
      arrow: '[Function: anonymous]',
      symbol: 'Symbol(s)',
      buffer: '[Buffer: 3 bytes]',
      memory: '[ArrayBuffer: 3 bytes]',
      vector: [0.5, 1],
      regexp: '/a+/g',
      url: 'https://a.example/b',
      boxed: 'text',
      promise: '[Promise]',
      point: { x: 1 },
      bare: { a: 1 },
      hole: [null, '[Function: anonymous]'],
      surrogate: 'a\ufffdb',
    })
  })

  it('says what an error is, and why', () => {
    const error = Object.assign(new TypeError('no', { cause: new Error('deep') }), { status: 4 })
    expect(json(error)).toMatchObject({
      name: 'TypeError',
      message: 'no',
      status: 4,
      cause: { message: 'deep' },
    })
  })

  it('survives what throws, loops or has no end', () => {
    const cycle: Record<string, unknown> = { name: 'loop' }
    cycle.self = cycle
    cycle.list = [cycle]
    const shared = { a: 1 }
    const deep: unknown[] = []
    let inner = deep
    for (let i = 0; i < 10_000; i++) inner = inner[0] = [] as unknown as never
    const nasty = {
      cycle,
      twice: [shared, shared],
      deep,
      broken: {
        toJSON() {
          throw new Error('no')
        },
        a: 1,
      },
      chosen: { toJSON: () => ({ chosen: true }) },
      get getter() {
        throw new Error('no')
      },
      proxy: new Proxy(
        {},
        {
          ownKeys() {
            throw new Error('no')
          },
        },
      ),
      revoked: (() => {
        const { proxy, revoke } = Proxy.revocable({}, {})
        revoke()
        return proxy
      })(),
      wide: Array.from({ length: 200_000 }, (_, i) => ({ i })),
    }
    const {
      deep: _,
      wide,
      ...rest
    } = json(Object.defineProperties({}, Object.getOwnPropertyDescriptors(nasty)))
    expect(rest).toMatchObject({
      cycle: { name: 'loop', self: '[Circular]', list: ['[Circular]'] },
      twice: [{ a: 1 }, { a: 1 }],
      broken: { a: 1 },
      chosen: { chosen: true },
      getter: '[Unreadable]',
      proxy: '[Unreadable]',
      revoked: '[Unreadable]',
    })
    expect(JSON.stringify(wide).length).toBeLessThan(2_000_000)
  })

  it('takes every kind of outermost value', () => {
    expect([undefined, null, 1, 'a', Number.NaN, () => 1, 1n].map(toJson)).toEqual([
      'null',
      'null',
      '1',
      '"a"',
      '"NaN"',
      '"[Function: anonymous]"',
      '1',
    ])
  })
})
