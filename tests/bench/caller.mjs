// Extra time per call on the event loop, in Node: llmtrail and @posthog/ai against the bare SDK.
//
// The provider is a `fetch` inside the process that answers at once, so that what is left is the SDK, the observer and
// nothing else. The three take turns within each round (the order rotated); a figure is the median over rounds of
// (observed call - bare call of the same round). Both observers deliver to the loopback server. Prints JSON lines.

import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { init, shutdown, wrap } from 'llmtrail'
import OpenAI from 'openai'
import { PostHog } from 'posthog-node'
import { OpenAI as PostHogOpenAI } from '@posthog/ai/openai'

const ROUNDS = Number(process.env.ROUNDS ?? 300)
const WARM_UP = 60
const ROOT = new URL('../..', import.meta.url).pathname

const USAGE = { prompt_tokens: 20, completion_tokens: 200, total_tokens: 220 }
const HEAD = { id: 'chatcmpl-1', created: 1, model: 'gpt-5-mini-2025-08-07', system_fingerprint: 'fp_1' }
const encoder = new TextEncoder()

const plainBody = (() => {
  const message = { role: 'assistant', content: 'word '.repeat(200), refusal: null, annotations: [] }
  const choice = { index: 0, message, logprobs: null, finish_reason: 'stop' }
  return encoder.encode(JSON.stringify({ ...HEAD, object: 'chat.completion', choices: [choice], usage: USAGE }))
})()

function streamBody(asked) {
  const head = { ...HEAD, object: 'chat.completion.chunk' }
  const chunks = Array.from({ length: 200 }, (_, n) => ({
    ...head,
    choices: [{ index: 0, delta: n < 199 ? { content: 'word ' } : {}, finish_reason: n < 199 ? null : 'stop' }],
    ...(asked ? { usage: null } : {}),
  }))
  if (asked) chunks.push({ ...head, choices: [], usage: USAGE })
  return [...chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`), 'data: [DONE]\n\n'].map((t) => encoder.encode(t))
}
const STREAM = { true: streamBody(true), false: streamBody(false) }

async function provider(_url, init) {
  const tail = init.body.slice(-200)
  const streamed = tail.includes('"stream":true')
  const chunks = streamed ? STREAM[tail.includes('include_usage')] : [plainBody]
  let at = 0
  const body = new ReadableStream(
    { pull: (c) => (at < chunks.length ? c.enqueue(chunks[at++]) : c.close()) },
    { highWaterMark: 0 },
  )
  const headers = { 'content-type': streamed ? 'text/event-stream' : 'application/json' }
  return new Response(body, { status: 200, headers })
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]

async function measure(calls) {
  const names = Object.keys(calls)
  const wall = Object.fromEntries(names.map((name) => [name, []]))
  const cpu = Object.fromEntries(names.map((name) => [name, []]))
  for (let turn = 0; turn < WARM_UP + ROUNDS; turn++) {
    for (let at = 0; at < names.length; at++) {
      const name = names[(at + turn) % names.length]
      const usage = process.cpuUsage()
      const before = performance.now()
      await calls[name]()
      const took = (performance.now() - before) * 1e3
      const spent = process.cpuUsage(usage)
      // What an observer leaves for the next turn of the loop is its own.
      await new Promise((resolve) => setImmediate(resolve))
      if (turn >= WARM_UP) {
        wall[name].push(took)
        cpu[name].push(spent.user + spent.system)
      }
    }
  }
  const out = { bare: { median_us: median(wall.bare) } }
  for (const name of names.slice(1)) {
    const extra = wall[name].map((time, n) => time - wall.bare[n]).sort((a, b) => a - b)
    const cpus = cpu[name].map((time, n) => time - cpu.bare[n])
    out[name] = { median_us: median(extra), p99_us: extra[Math.floor(extra.length * 0.99)], cpu_us: median(cpus) }
  }
  return out
}

const server = spawn(process.env.LOOPBACK ?? join(ROOT, 'target/release/loopback'), ['--with-parent'], {
  stdio: ['pipe', 'pipe', 'inherit'],
})
const [line] = await new Promise((resolve) => createInterface(server.stdout).once('line', (text) => resolve([text])))
const host = line.replace('listening on ', '')

init({ apiKey: 'phc_bench', host, dir: mkdtempSync(join(tmpdir(), 'llmtrail-')) })
const options = { apiKey: 'sk-bench', fetch: provider }
const clients = {
  bare: new OpenAI(options),
  llmtrail: wrap(new OpenAI(options)),
  '@posthog/ai': new PostHogOpenAI({ ...options, posthog: new PostHog('phc_bench', { host }) }),
}
const plain = (client, prompt) => () =>
  client.chat.completions.create({ model: 'gpt-5-mini', messages: [{ role: 'user', content: prompt }] })
const stream = (client, prompt) => async () => {
  const messages = [{ role: 'user', content: prompt }]
  for await (const _ of await client.chat.completions.create({ model: 'gpt-5-mini', messages, stream: true }));
}

for (const [name, make, size] of [
  ['1 KB', plain, 1],
  ['100 KB', plain, 100],
  ['200 chunks', stream, 1],
]) {
  const prompt = 'lorem ip'.repeat(128 * size)
  const calls = Object.fromEntries(Object.entries(clients).map(([who, client]) => [who, make(client, prompt)]))
  console.log(JSON.stringify({ language: 'node', case: name, result: await measure(calls) }))
}
await shutdown(10_000)

const imports = { bare: '0', llmtrail: 'require("llmtrail")', '@posthog/ai': 'require("@posthog/ai/openai")' }
const times = Object.fromEntries(Object.keys(imports).map((name) => [name, []]))
for (let turn = 0; turn < 15; turn++) {
  for (const [name, statement] of Object.entries(imports)) {
    const before = performance.now()
    execFileSync(process.execPath, ['-e', statement], { cwd: new URL('.', import.meta.url).pathname })
    times[name].push(performance.now() - before)
  }
}
const bare = median(times.bare)
delete times.bare
const importsMs = Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all) - bare]))
console.log(JSON.stringify({ language: 'node', imports_ms: importsMs }))
server.kill()
process.exit(0)
