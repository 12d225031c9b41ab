import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from '../dist/index.mjs'
import type { NativeCall } from '../lib/native.ts'
import { type Ingestion, ingestion } from './servers.ts'

const CORPUS = join(import.meta.dirname, '../../tests/corpus')
const rules = JSON.parse(readFileSync(join(CORPUS, 'normalise.json'), 'utf8'))
const cost = new RegExp(rules.cost)

const json = (folder: string, file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'))

const cases = readdirSync(CORPUS)
  .filter((format) => statSync(join(CORPUS, format)).isDirectory())
  .flatMap((format) => readdirSync(join(CORPUS, format)).map((name) => `${format}/${name}`))
  .filter((name) => existsSync(join(CORPUS, name, 'case.json')))
  .filter((name) => json(join(CORPUS, name), 'case.json').pending !== true)

const lines = (headers: object = {}) => Object.entries(headers).flat().join('\n')

let server: Ingestion
let client: Client
beforeAll(async () => {
  server = await ingestion()
  client = server.client()
})
afterAll(async () => {
  await client.shutdown(2000)
  server.close()
})

describe('the corpus', () => {
  it('is there', () => expect(cases.length).toBeGreaterThanOrEqual(40))

  it.each(cases)('%s', async (name) => {
    const folder = join(CORPUS, name)
    const about = json(folder, 'case.json')
    const file = readdirSync(folder).find((file) => file.startsWith('response.'))
    const request = existsSync(join(folder, 'request.body')) ? 'request.body' : 'request.json'
    // @ts-expect-error The raw hand-over is not part of what the package declares.
    const call: NativeCall = client.native.begin(
      about.method ?? 'POST',
      about.url,
      about.provider,
      undefined,
      Date.now(),
      lines(about.request_headers),
      undefined,
      readFileSync(join(folder, request)),
    )
    if (about.asked_usage) expect(call.insertion()?.text).toContain('include_usage')
    const body = file === undefined ? Buffer.alloc(0) : readFileSync(join(folder, file))
    const marks = new Float64Array([body.length, 10])
    const { status = 0, end = 'complete' } = about
    call.end(end, about.error, 10, 0, status, lines(about.response_headers), 5, body, marks)
    call.end('complete', undefined, 10, 0, status, '', 5, body, marks)
    await client.flush(5000)
    const [event, ...more] = server.events.splice(0)
    expect(more).toEqual([])
    const kept = Object.entries(event?.properties ?? {}).filter(
      ([name]) => !rules.volatile.includes(name) && !cost.test(name),
    )
    const expected = json(folder, 'expected.json')
    expect({ event: event?.event, properties: Object.fromEntries(kept) }).toEqual(expected)
  })
})
