import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type NativeFilter, native } from '../lib/native.ts'
import { Recorder } from '../lib/recorder.ts'
import { Cutter } from '../lib/usage.ts'

const HEAD = 'content-type\ntext/event-stream'
const CORPUS = join(import.meta.dirname, '../../tests/corpus')

const filter = (): NativeFilter => new (native().NativeFilter)(200, HEAD)

/** What the core passes on of a piece. */
function pushed(filter: NativeFilter, piece: Uint8Array): string {
  const place = Uint8Array.from(piece)
  const length = filter.push(place)
  return Buffer.from(length < 0 ? filter.instead() : place.subarray(0, length)).toString('latin1')
}

/** The cut of a piece, and the core's; undefined where the core is asked. Other pieces are left as they are. */
function same(text: string): boolean {
  const piece = new Uint8Array(Buffer.from(text, 'latin1'))
  const expected = pushed(filter(), piece)
  const before = Buffer.from(piece).toString('latin1')
  const seen = new Cutter().cut(piece, false)
  expect(Buffer.from(piece).toString('latin1')).toBe(before)
  const owned = new Cutter().cut(piece, true)
  expect(seen === undefined).toBe(owned === undefined)
  if (!seen || !owned) return false
  expect(Buffer.from(seen).toString('latin1')).toBe(expected)
  expect(Buffer.from(owned).toString('latin1')).toBe(expected)
  return true
}

const event = (tail: string, text = 'word ') =>
  `data: {"id":"1","choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null}]${tail}}\n\n`

describe('the cut of usage', () => {
  it('is made here for what is usual', () => {
    const usual = [
      event(',"usage":null'),
      event(',"usage":null,"obfuscation":"x}\\"y"'),
      event(',"usage":null,"n":1') + event(',"usage":null'),
      event(''),
      'data: {"id":"1","choices":[],"usage":{"prompt_tokens":1,"details":{"a":[1,2]}}}\n\n',
      'data: {"id":"1","choices":[],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n',
      'data: {"id":"1","choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1}}\n\n',
      event(',"usage":null', '\\"usage\\":null'),
      event(',"n":{"usage":1},"usage":null'),
      event(',"usage":null,"obfuscation":""'),
      `${event(',"usage":null')}data: [DONE]\n\n`,
      'data: [DONE]\n\n',
    ]
    for (const text of usual) expect(same(text), text).toBe(true)
  })

  it('is left to the core where there is a doubt, and is never another', () => {
    const others = [
      event(',"usage": null'),
      event(' ,"usage":null'),
      event(',"usage":null,"usage":null'),
      event(',"usage":{},"usage":null,"obfuscation":"x"'),
      event(',"usage":null,"obfuscation":"x"y"'),
      event(',"usage":null,"other":"x"'),
      event(',"text":"\\",\\"usage\\":null"'),
      'data: {,"usage":null}\n\n',
      'data: {"usage":null}\n\n',
      'data: {"}\n\n',
      'data: {}\n\n',
      event(',"usage":3'),
      'data: {"usage":null,"choices":[{}]}\n\n',
      'data: {"a":{"usage":null}\n\n',
      'data: {"a":{"b":1,"usage":null}\n\n',
      'data: {"a":"x"y,"usage":null}\n\n',
      'data: {"choices":[ ],"usage":{}}\n\n',
      ': hello\n\n',
      event(',"usage":null').replace('\n\n', '\r\n\r\n'),
      event(',"usage":null').slice(0, -1),
      'event: x\ndata: {"a":1,"usage":null}\n\n',
    ]
    for (const text of others) same(text)
    expect(same('')).toBe(true)
    const parts = [
      ...others,
      event(',"usage":null'),
      event(''),
      'data: ',
      '"usage"',
      ':null',
      ',',
      '{',
      '}',
      '[',
      ']',
      '"',
      '\\',
      '\n',
      '\n\n',
      ' ',
      '1',
    ]
    let seed = 1
    const random = (below: number) => {
      seed = (seed * 48271) % 2147483647
      return seed % below
    }
    for (let n = 0; n < 20_000; n++) {
      let text = ''
      for (let left = 1 + random(4); left > 0; left--) {
        const part = parts[random(parts.length)] as string
        const at = random(part.length + 1)
        // A whole part, one with a hole in it, or one with something else in it.
        if (random(3) === 0) text += part
        else if (random(2) === 0) text += part.slice(0, at) + part.slice(at + 1 + random(3))
        else text += part.slice(0, at) + parts[random(parts.length)] + part.slice(at)
      }
      same(text)
    }
  })

  it('agrees with the core on every stream of the corpus, at every cut', () => {
    const streams = readdirSync(CORPUS, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('response.sse'))
      .map((name) => readFileSync(join(CORPUS, name), 'latin1'))
    expect(streams.length).toBeGreaterThan(10)
    let [here, there] = [0, 0]
    for (const stream of streams) {
      for (const text of stream.split(/(?<=\n\n)/)) same(text) ? here++ : there++
      for (let at = 0; at < Math.min(stream.length, 3000); at += 7) {
        same(stream.slice(at))
        same(stream.slice(0, at))
      }
    }
    expect(here).toBeGreaterThan(100)
  })

  it('goes on well after pieces that the core had', () => {
    const client = new (native().NativeClient)('{}', [])
    const url = 'https://api.openai.com/v1/chat/completions'
    const text = '{"model":"m","messages":[],"stream":true}'
    const sent = { method: 'POST', url, provider: undefined, scope: undefined, headers: '', text }
    const call = () => {
      const recorder = new Recorder(client as never, { ...sent, bytes: undefined }, () => {})
      recorder.outgoing()
      recorder.response(200, HEAD)
      expect(recorder.filtered).toBe(true)
      return recorder
    }
    const usual = event(',"usage":null,"obfuscation":"x"')
    const end = 'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n'
    const stream = `: hello\n\n${usual}${usual.replace('\n\n', '\r\n\r\n')}${usual}\n\n${usual}${end}${usual.slice(0, -30)}`
    const pieces = (size: number) => stream.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? []
    for (let size = 1; size <= stream.length; size++) {
      const [recorder, core] = [call(), filter()]
      for (const piece of [...pieces(size), '']) {
        const seen = recorder.pass(new Uint8Array(Buffer.from(piece)), false)
        expect(Buffer.from(seen).toString()).toBe(pushed(core, Buffer.from(piece)))
      }
      expect(Buffer.from(recorder.rest() ?? []).toString()).toBe(Buffer.from(core.rest() ?? []).toString())
      recorder.discard()
    }
  })
})
