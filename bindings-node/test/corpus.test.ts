import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { native } from '../lib/native.ts'
import { type Ingestion, ingestion } from './servers.ts'

const core = native()
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
beforeAll(async () => {
  server = await ingestion()
})
afterAll(() => server.close())

describe('the corpus', () => {
  it('is there', () => expect(cases.length).toBeGreaterThanOrEqual(40))

  it.each(cases)('%s', async (name) => {
    const folder = join(CORPUS, name)
    const about = json(folder, 'case.json')
    const file = readdirSync(folder).find((file) => file.startsWith('response.'))
    const request = existsSync(join(folder, 'request.body')) ? 'request.body' : 'request.json'
    const client = server.client()
    // @ts-expect-error Not part of what the package declares.
    const number: number = client.number
    const method = about.method ?? 'POST'
    const sent = readFileSync(join(folder, request))
    const asked = about.asked_usage === true
    const insertion = core.insertion(number, method, about.url, about.provider, undefined, sent)
    if (asked) expect(insertion?.text).toContain('include_usage')
    const body = file === undefined ? Buffer.alloc(0) : readFileSync(join(folder, file))
    const marks = new Float64Array([body.length, 10])
    const { provider, status = 0, end = 'complete', error } = about
    const [there, back] = [lines(about.request_headers), lines(about.response_headers)]
    // biome-ignore format: one call
    core.observe(
      number, method, about.url, provider, undefined, Date.now(), there, undefined, sent, asked,
      end, error, 10, 0, status, back, 5, undefined, body, marks, true, undefined,
    )
    // A flush would leave what goes on in the background.
    await client.shutdown(5000)
    const [event, ...more] = server.events.splice(0)
    expect(more).toEqual([])
    const kept = Object.entries(event?.properties ?? {}).filter(
      ([name]) => !rules.volatile.includes(name) && !cost.test(name),
    )
    const expected = json(folder, 'expected.json')
    expect({ event: event?.event ?? null, properties: Object.fromEntries(kept) }).toEqual(expected)
  })
})
