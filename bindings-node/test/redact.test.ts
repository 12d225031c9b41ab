import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { Client, ConfigError, type FinishedCall, type LlmtrailError, type Options } from '../dist/index.mjs'
import { chunk, folder, ingestion, pause, provider, STREAM, STREAMED, stored } from './servers.ts'

const SECRET = 'canary-7f3a'
const PACKAGE = join(import.meta.dirname, '..')

const server = await ingestion()
afterEach(() => {
  server.events.length = 0
})
afterAll(() => server.close())

describe('redact', () => {
  it('sees every text with its path, and what it says is sent', async () => {
    const seen: Record<string, string> = {}
    const client = server.client({
      redact: (text, path) => {
        seen[path] = text
        return text.replaceAll(SECRET, '[mine]')
      },
    })
    client.trace(SECRET, { input: { question: SECRET }, properties: { note: SECRET } }, (trace) => {
      client.captureGeneration({
        model: 'm',
        input: [{ role: 'user', content: SECRET }],
        output: SECRET,
        error: new Error(SECRET),
      })
      trace.output = [SECRET]
    })
    client.capture('ordered', { distinctId: 'user', properties: { nested: { deep: [SECRET] } } })
    expect(await client.shutdown()).toMatchObject({ delivered: 3, pending: 0, dropped: {} })
    const text = JSON.stringify(server.events)
    expect(text).not.toContain(SECRET)
    expect(text.split('[mine]').length).toBeGreaterThan(8)
    for (const path of [
      '$ai_input[0].content',
      '$ai_error',
      'note',
      'nested.deep[0]',
      '$ai_input_state.question',
    ])
      expect(seen[path]).toBe(SECRET)
    expect(Object.keys(seen).filter((path) => /\.role$|_id$/.test(path))).toEqual([])
    const generation = server.events.find((event) => event.event === '$ai_generation')
    expect(generation?.properties.$ai_input).toEqual([{ role: 'user', content: '[mine]' }])
  })

  it.each<[string, () => unknown, string]>([
    [
      'throws',
      () => {
        throw new TypeError('no')
      },
      'TypeError: no',
    ],
    ['gives back nothing', () => undefined, 'it gave back undefined'],
    ['gives back a promise', () => Promise.reject(new Error('no')), 'it gave back object'],
  ])('has a text withheld on which it %s', async (_, redact, says) => {
    const errors: LlmtrailError[] = []
    const client = server.client({
      redact: redact as NonNullable<Options['redact']>,
      onError: (error) => errors.push(error),
    })
    client.captureGeneration({ model: 'm', input: SECRET, usage: { input_tokens: 3 } })
    expect(await client.flush(5000)).toMatchObject({ delivered: 1 })
    const [event] = server.events
    expect(event?.properties.$ai_input).toEqual([{ role: 'user', content: '[withheld]' }])
    expect(event?.properties.$ai_input_tokens).toBe(3)
    expect(client.stats().notes.redact_failed).toBeGreaterThan(0)
    for (let n = 0; errors.length === 0 && n < 500; n++) await pause(10)
    expect(errors[0]?.code).toBe('redact')
    expect(errors[0]?.message).toContain(says)
    await client.shutdown()
  })

  it('comes before beforeSend, and may be for the server alone', async () => {
    const dir = folder()
    const seen: unknown[] = []
    const client = server.client({
      dir,
      local: true,
      store: { redact: false, detectors: false },
      detectors: ['email'],
      redact: (text) => text.replaceAll(SECRET, '[mine]'),
      beforeSend: async (event) => {
        seen.push(event.properties.$ai_input)
        return event
      },
    })
    client.captureGeneration({ model: 'm', input: `${SECRET} anna@example.com` })
    expect(await client.shutdown()).toMatchObject({ delivered: 1 })
    const message = (content: string) => [{ role: 'user', content }]
    expect(server.events[0]?.properties.$ai_input).toEqual(message('[mine] [email-1]'))
    expect(stored(dir)[0]?.properties.$ai_input).toEqual(message(`${SECRET} anna@example.com`))
    expect(seen).toEqual([message('[mine] [email-1]'), message(`${SECRET} anna@example.com`)])
  })

  it('is asked at the end of the process too', () => {
    const dir = folder()
    const code = `
      import { Client } from ${JSON.stringify(join(PACKAGE, 'dist/index.mjs'))}
      const client = new Client({
        dir: ${JSON.stringify(dir)},
        redact: (text) => text.replaceAll('${SECRET}', '[mine]'),
        onGeneration: (call) => console.log('told of', call.model),
      })
      client.captureGeneration({ model: 'm', input: '${SECRET}' })
      process.exit(0)`
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    expect(out.toString()).toBe('told of m\n')
    expect(stored(dir)[0]?.properties.$ai_input).toEqual([{ role: 'user', content: '[mine]' }])
  })
})

describe('onGeneration', () => {
  it('is told of every call, sampled or not, off the call', async () => {
    const told: FinishedCall[] = []
    const client = server.client({ onGeneration: (call) => told.push(call), sampleRate: 0, privacy: true })
    const openai = await provider((_, response) => {
      response.writeHead(200, STREAM)
      response.end(`${chunk('Hi')}${chunk('', 'stop')}data: [DONE]\n\n`)
    })
    try {
      await client.trace('t', { distinctId: 'user-1', sessionId: 's' }, async (trace) => {
        const answer = await client.fetch(openai.chat, { method: 'POST', body: STREAMED })
        await answer.text()
        expect(told).toEqual([])
        client.captureEmbedding({ model: 'm', usage: { input_tokens: 4 }, latency: 250 })
        await client.flush()
        expect(told[0]).toMatchObject({
          event: '$ai_generation',
          distinctId: 'user-1',
          sessionId: 's',
          traceId: trace.traceId,
          model: 'gpt-5-mini-2025-08-07',
          stream: true,
          streamStatus: 'complete',
          stopReason: 'stop',
          httpStatus: 200,
          isError: false,
        })
      })
    } finally {
      openai.close()
    }
    expect(told[0]?.latency).toBeGreaterThan(0)
    expect(told[1]).toMatchObject({
      event: '$ai_embedding',
      usage: { input_text: 4 },
      latency: 250,
      costUsd: null,
    })
    expect(told).toHaveLength(2)
    await client.shutdown()
    expect(server.events).toEqual([])
  })

  it.each<[string, () => void]>([
    [
      'throw',
      () => {
        throw new Error('no')
      },
    ],
    ['reject', () => Promise.reject(new Error('no'))],
  ])('may %s: that is counted and goes nowhere', async (_, onGeneration) => {
    const client = server.client({ onGeneration })
    for (let n = 0; n < 3; n++) client.captureGeneration({ model: 'm', input: 'hi' })
    expect(await client.flush(5000)).toMatchObject({ delivered: 3 })
    expect(client.stats().notes.on_generation_failed).toBe(3)
    await client.shutdown()
  })
})

describe('store', () => {
  it.each(['remote', 'store'])('keeps apart what each may get, the %s less', async (stricter) => {
    const dir = folder()
    const hidden = stricter === 'remote'
    const client = server.client({ dir, local: true, privacy: hidden, store: { privacy: !hidden } })
    client.trace('t', { input: SECRET }, () => {
      client.captureGeneration({ model: 'm', input: SECRET, output: SECRET })
      client.options({ privacy: true }, () =>
        client.captureGeneration({ model: 'm', input: 'hidden from all' }),
      )
    })
    expect(await client.shutdown()).toMatchObject({ delivered: 3 })
    const [sent, kept] = [server.events, stored(dir)]
    const [full, less] = hidden ? [kept, sent] : [sent, kept]
    expect(JSON.stringify(less)).not.toContain(SECRET)
    expect(JSON.stringify(full).split(SECRET)).toHaveLength(4)
    expect(JSON.stringify([...sent, ...kept])).not.toContain('hidden from all')
    expect(new Set(sent.map((event) => event.uuid))).toEqual(new Set(kept.map((event) => event.uuid)))
  })
})

it('checks hooks and policies at the door', () => {
  const bad = (options: unknown) => () => new Client({ dir: folder(), ...(options as Options) })
  expect(bad({ redact: 1 })).toThrow(ConfigError)
  expect(bad({ onGeneration: 'x' })).toThrow('onGeneration: expected a function, got string')
  expect(bad({ redact: async (text: string) => text })).toThrow(
    'redact: expected a function that is not async',
  )
  expect(bad({ store: true })).toThrow(
    'store: expected an object with some of privacy, fullCapture, detectors, redact',
  )
  expect(bad({ store: { full_capture: true } })).toThrow('got one with full_capture')
})
