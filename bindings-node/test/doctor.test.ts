import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { Client, instrument, uninstrument } from '../dist/index.mjs'
import { completion, folder, type Ingestion, ingestion, PLAIN, post, provider } from './servers.ts'

const SECRET = 'phc_a_very_secret_key'
const BIN = fileURLToPath(new URL('../bin/llmtrail.js', import.meta.url))

let server: Ingestion
beforeAll(async () => {
  server = await ingestion()
})
afterAll(() => server.close())

const quiet = { show: false }

describe('doctor', () => {
  it('tells of a wrapped client and its calls, and prints it', async () => {
    const played = await provider((_, response) => response.end(completion('hi')))
    const client = server.client({ hosts: { [played.authority]: 'openai' } })
    // A class of this test alone: what is counted is of the whole process.
    class OnlyHere {
      baseURL = played.base
      fetch = globalThis.fetch
      withOptions = (): object => this
    }
    const sdk = client.wrap(new OnlyHere())
    const seen = async () => (await client.doctor(quiet)).observed?.find(({ what }) => what === 'OnlyHere')
    expect(await seen()).toEqual({ what: 'OnlyHere', how: 'wrapped', calls: 0 })
    await (await sdk.fetch(played.chat, post(PLAIN))).text()
    await client.flush()
    expect((await seen())?.calls).toBe(1)
    const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    const found = await client.doctor()
    const text = write.mock.calls.join('')
    write.mockRestore()
    expect(text).toContain('OnlyHere: wrapped, 1 call\n')
    expect(found).toMatchObject({ ok: true, problems: [], language: 'node', enabled: true })
    expect(found.runtime).toBe(`Node ${process.versions.node}`)
    expect(found.delivery).toMatchObject({
      captured: 1,
      delivered: 1,
      pending: 0,
      dropped: {},
      lastError: null,
    })
    await client.shutdown()
    played.close()
  })

  it('tells of an observed process', async () => {
    const client = server.client()
    client.instrument()
    const during = await client.doctor(quiet)
    uninstrument()
    const after = await client.doctor(quiet)
    const layers = (found: typeof during) =>
      found.observed?.filter(({ how }) => how === 'instrumented').map(({ what }) => what)
    expect(layers(during)).toEqual(['fetch', 'undici', 'node:http', 'node:http2'])
    expect(layers(after)).toEqual([])
    expect(instrument).toBeTypeOf('function')
  })

  it('asks the server whether it takes the key, and never shows it', async () => {
    const good = await new Client({ apiKey: SECRET, host: server.host, dir: folder() }).doctor(quiet)
    expect(good.places).toEqual([
      { kind: 'server', host: server.host, key: 'phc_a_...', acceptsKey: true, answer: 'status 200' },
    ])
    expect(JSON.stringify(good)).not.toContain('secret')
    const bad = await new Client({ apiKey: 'phc_no-such', host: server.host, dir: folder() }).doctor(quiet)
    expect(bad).toMatchObject({ ok: false, places: [{ acceptsKey: false }] })
    expect(bad.problems[0]).toContain('Project API key invalid')
  })

  it('waits for a silent server no longer than it is told', async () => {
    const silent = createServer(() => {})
    await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done))
    const host = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const found = await new Client({ apiKey: SECRET, host, dir: folder() }).doctor({
      ...quiet,
      timeoutMs: 200,
    })
    expect(found.problems[0]).toContain('no answer in time')
    silent.closeAllConnections()
    silent.close()
  })

  it('counts what was dropped as a problem', async () => {
    const client = server.client()
    client.capture('order')
    await client.shutdown()
    client.capture('order')
    const found = await client.doctor(quiet)
    expect(found).toMatchObject({ ok: false, delivery: { dropped: { shutdown: 1 } } })
    expect(found.problems[0]).toContain('shutdown')
  })
})

describe('llmtrail doctor', () => {
  const run = (cwd: string, args: string[], env: Record<string, string>) =>
    new Promise<{ code: number; out: string }>((done) => {
      const { POSTHOG_API_KEY: _, POSTHOG_HOST: __, ...rest } = process.env
      const child = execFile(
        process.execPath,
        [BIN, 'doctor', ...args],
        { cwd, env: { ...rest, LLMTRAIL_DIR: folder(), ...env } },
        (_, out) => done({ code: child.exitCode ?? -1, out }),
      )
    })

  it('finds the SDKs of the working directory, and says by its exit code what is wrong', async () => {
    const project = folder()
    for (const [name, version] of [
      ['openai', '7.0.0'],
      ['@anthropic-ai/sdk', '0.20.1'],
    ] as const) {
      mkdirSync(join(project, 'node_modules', name), { recursive: true })
      writeFileSync(join(project, 'node_modules', name, 'package.json'), JSON.stringify({ name, version }))
    }
    mkdirSync(join(project, 'src'))
    const env = { POSTHOG_API_KEY: SECRET, POSTHOG_HOST: server.host }
    const { code, out } = await run(join(project, 'src'), ['--json'], env)
    const found = JSON.parse(out)
    expect([code, found.ok, found.language, found.observed]).toEqual([0, true, 'node', null])
    expect(found.sdks).toMatchObject([
      { name: '@anthropic-ai/sdk', version: '0.20.1', tested: 'older' },
      { name: 'openai', version: '7.0.0', tested: 'yes', testedVersions: { oldest: '4.104.0' } },
    ])
    const bad = await run(project, [], { POSTHOG_API_KEY: 'phc_no-such', POSTHOG_HOST: server.host })
    expect(bad.code).toBe(1)
    expect(bad.out).toContain('does not take the key phc_no...')
    expect(out + bad.out).not.toContain('secret')
  })
})
