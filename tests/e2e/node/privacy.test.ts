// Through the real SDKs: what privacy mode, `redact` and the detectors let leave, in every byte sent and on disk.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Anthropic from '@anthropic-ai/sdk'
import { Client, type Options } from 'llmtrail'
import OpenAI from 'openai'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { folder, Loopback } from './loopback.ts'
import type { Any } from './sdks.ts'

const CANARY = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../scenarios/canary.json'), 'utf8'),
) as Any
const SECRET: string = CANARY.secret
const PAYLOAD: string = CANARY.payload.slice(0, 32)
// With neighbours that a pattern might take for a part of them.
const PERSONAL =
  'order 25 4111 1111 1111 1111 12/27, <anna@example.com>, +49 30 901820, DE89370400440532013000, 203.0.113.7'
const MARKS = ['1111 1111', 'anna@', '30 901820', 'DE89', '203.0.113.7']

let server: Loopback
beforeAll(async () => {
  server = await Loopback.start()
})
afterEach(() => server.reset())
afterAll(() => server.close())

/** A request of the canary's, with a text in place of its secret; names of functions are no free text. */
function request(name: string, text: string): Any {
  const put = (value: Any): Any => {
    if (typeof value === 'string') return value.replaceAll(SECRET, text)
    if (Array.isArray(value)) return value.map(put)
    if (value === null || typeof value !== 'object') return value
    const members = Object.entries(value).map(([key, of]) => [
      key.replace(SECRET, text),
      key === 'name' && text !== SECRET ? 'look_up' : put(of),
    ])
    return Object.fromEntries(members)
  }
  return put(CANARY.paths[name].request)
}

async function calls(trail: Client, text: string): Promise<void> {
  const options = { apiKey: 'sk-test', maxRetries: 0 }
  const chat = trail.wrap(new OpenAI({ ...options, baseURL: `${server.url}/v1` }), { provider: 'openai' })
  const claude = trail.wrap(new Anthropic({ ...options, baseURL: server.url }), { provider: 'anthropic' })
  const headers = { headers: { 'x-note': text, cookie: text } }
  await trail.trace('t', { input: text }, async () => {
    await chat.chat.completions.create(request('chat', text), headers)
    const stream: Any = await chat.chat.completions.create(
      { ...request('chat', text), stream: true } as Any,
      headers,
    )
    for await (const _ of stream);
    await chat.responses.create(request('responses', text), headers)
    await claude.messages.create({ max_tokens: 99, ...request('messages', text), stream: false }, headers)
    await chat.embeddings.create({ model: 'text-embedding-3-small', input: [text] })
    const messages = [{ role: 'user' as const, content: text }]
    await expect(chat.chat.completions.create({ model: 'error-429', messages })).rejects.toThrow('429')
    await expect(
      claude.messages.create({ model: `no-such ${text}`, max_tokens: 9, messages }),
    ).rejects.toThrow('404')
  })
}

/** The events that the local store has. */
function stored(dir: string): Any[] {
  const program = join(import.meta.dirname, '../../../bindings-node/bin/llmtrail.js')
  const env = { ...process.env, LLMTRAIL_DIR: dir }
  const lines = execFileSync(process.execPath, [program, 'export', '--format', 'jsonl'], { env })
  return lines
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

const ID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g

/** The values without the names of members and of models, which are no content. */
function texts(value: Any): Any {
  if (Array.isArray(value)) return value.map(texts)
  // Ids are random, and by chance one has the digits of a card in it.
  if (typeof value === 'string') return value.replace(ID, 'id')
  if (value === null || typeof value !== 'object') return value
  const members = Object.entries(value).filter(([name]) => !['$ai_model', 'model_requested'].includes(name))
  return members.map(([, member]) => texts(member))
}

it.each<[string, Options]>([
  ['privacy', { privacy: true }],
  ['redact', { redact: (text) => text.replaceAll(SECRET, '[mine]') }],
  ['detectors', { detectors: true }],
  ['nothing', {}],
])('lets only what may leave: %s', async (way, options) => {
  const dir = folder()
  const trail = new Client({
    apiKey: 'phc_test',
    host: server.url,
    dir,
    spool: 'always',
    local: true,
    ...options,
  })
  await calls(trail, way === 'detectors' ? PERSONAL : SECRET)
  expect(await trail.shutdown(20_000)).toMatchObject({ pending: 0, dropped: {} })
  const [sent, kept] = [await server.events(), stored(dir)]
  expect([sent.length, kept.length]).toEqual([8, 8])
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  const bytes = files.map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')).join()
  expect(JSON.stringify([sent, kept]) + bytes).not.toContain(PAYLOAD)
  const all = JSON.stringify(texts([sent, kept]))
  if (way === 'nothing') {
    // Else the others would show nothing.
    expect(sent.filter((event) => JSON.stringify(event).includes(SECRET))).toHaveLength(8)
  } else if (way === 'detectors') {
    expect(MARKS.filter((mark) => all.includes(mark))).toEqual([])
    expect(all.split('[card-').length).toBeGreaterThan(5)
  } else {
    expect(all).not.toContain(SECRET)
    expect(all.split('[mine]').length > 20).toBe(way === 'redact')
  }
})
