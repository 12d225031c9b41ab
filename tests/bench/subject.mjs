// One observer of calls in a process of its own, in Node: `subject.mjs llmtrail`. `caller.py` drives it.
//
// The provider is a `fetch` inside the process that answers at once, so that what is left is the SDK, the observer and
// nothing else. A bare client and an observed one take turns, in an order that is drawn anew each time. Reads a case and
// a number of rounds a line; prints what each round took.

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import OpenAI from 'openai'

const WARM_UP = 60
// What a chunk takes is the difference between two streams; each has a model of its own.
const CHUNKS = { 'gpt-5-mini': 200, 'gpt-5-nano': 20 }
// An answer of 10 MB comes in pieces as large as a socket gives them; who asks for it asks for this model.
const LARGE = 'large'
const PIECE = 64 << 10

const USAGE = { prompt_tokens: 20, completion_tokens: 200, total_tokens: 220 }
const HEAD = { id: 'chatcmpl-1', created: 1, model: 'gpt-5-mini-2025-08-07', system_fingerprint: 'fp_1' }
const encoder = new TextEncoder()

function plainBody(words) {
  const message = { role: 'assistant', content: 'word '.repeat(words), refusal: null, annotations: [] }
  const choice = { index: 0, message, logprobs: null, finish_reason: 'stop' }
  return encoder.encode(JSON.stringify({ ...HEAD, object: 'chat.completion', choices: [choice], usage: USAGE }))
}
const PLAIN = [plainBody(200)]

let largeBody
function large() {
  if (!largeBody) {
    const body = plainBody(2 << 20)
    largeBody = Array.from({ length: Math.ceil(body.length / PIECE) }, (_, n) => body.slice(n * PIECE, (n + 1) * PIECE))
  }
  return largeBody
}

function streamBody(count, asked) {
  const head = { ...HEAD, object: 'chat.completion.chunk' }
  const chunks = Array.from({ length: count }, (_, n) => ({
    ...head,
    choices: [
      { index: 0, delta: n < count - 1 ? { content: 'word ' } : {}, finish_reason: n < count - 1 ? null : 'stop' },
    ],
    ...(asked ? { usage: null } : {}),
  }))
  if (asked) chunks.push({ ...head, choices: [], usage: USAGE })
  return [...chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`), 'data: [DONE]\n\n'].map((t) => encoder.encode(t))
}
const STREAM = Object.fromEntries(
  Object.entries(CHUNKS).map(([model, count]) => [model, { true: streamBody(count, true), false: streamBody(count, false) }]),
)

async function provider(_url, init) {
  // Where in the body the SDK puts these, it changes now and then.
  const ends = init.body.slice(0, 200) + init.body.slice(-200)
  const streamed = ends.includes('"stream":true')
  const isLarge = ends.includes(`"model":"${LARGE}"`)
  const model = ends.includes('"model":"gpt-5-nano"') ? 'gpt-5-nano' : 'gpt-5-mini'
  const chunks = isLarge ? large() : streamed ? STREAM[model][ends.includes('include_usage')] : PLAIN
  let at = 0
  const next = (c) => (at < chunks.length ? c.enqueue(chunks[at++]) : c.close())
  // A network lets the loop turn between two pieces.
  const turn = (c) => new Promise((resolve) => setImmediate(() => resolve(next(c))))
  const body = new ReadableStream({ pull: isLarge ? turn : next }, { highWaterMark: 0 })
  const headers = { 'content-type': streamed ? 'text/event-stream' : 'application/json' }
  return new Response(body, { status: 200, headers })
}

// The least that an observer of fetch can do, and the physical limit: keeps what passes, and does nothing with it.
async function copying(url, init) {
  const kept = [init.body]
  const response = await provider(url, init)
  const reader = response.body.getReader()
  const body = new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await reader.read()
        if (done) return controller.close()
        kept.push(value.slice())
        controller.enqueue(value)
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  const { status, statusText, headers } = response
  return new Response(body, { status, statusText, headers })
}

const [, , observer, host] = process.argv
const options = { apiKey: 'sk-bench', fetch: provider, maxRetries: 0 }

// The observed client, made and used as its documentation says.
async function observed() {
  if (observer === '@posthog/ai') {
    const { PostHog } = await import('posthog-node')
    const { OpenAI: PostHogOpenAI } = await import('@posthog/ai/openai')
    return new PostHogOpenAI({ ...options, posthog: new PostHog('phc_bench', { host }) })
  }
  if (observer === 'llmtrail') {
    const { init, wrap } = await import('llmtrail')
    init({ apiKey: 'phc_bench', host, dir: mkdtempSync(join(tmpdir(), 'llmtrail-')) })
    return wrap(new OpenAI(options))
  }
  return new OpenAI({ ...options, fetch: copying })
}

const plain = (client, prompt, turns = 1) => {
  const messages = Array(turns).fill({ role: 'user', content: prompt })
  return () => client.chat.completions.create({ model: 'gpt-5-mini', messages })
}
const together = (client, prompt, calls) => {
  const one = plain(client, prompt)
  return () => Promise.all(Array.from({ length: calls }, one))
}
const ask = (client) => client.chat.completions.create({ model: LARGE, messages: [{ role: 'user', content: 'all' }] })
const parsed = (client) => () => ask(client)
const bytes = (client) => async () => {
  for await (const _ of (await ask(client).asResponse()).body);
}
const stream = (model) => (client, prompt) => async () => {
  const messages = [{ role: 'user', content: prompt }]
  let count = 0
  for await (const _ of await client.chat.completions.create({ model, messages, stream: true })) count++
  if (count < CHUNKS[model]) throw new Error(`only ${count} chunks came`)
}

// By name: how a call is made, and the size of its prompt in KB.
const CASES = {
  '1 KB': [plain, 1],
  '100 KB': [plain, 100],
  '20 chunks': [stream('gpt-5-nano'), 1],
  '200 chunks': [stream('gpt-5-mini'), 1],
  '10 MB, bytes': [bytes, 1],
  '10 MB, parsed': [parsed, 1],
}

// `growth.py` asks for numbers: a prompt of so many KB, so many turns of a conversation, so many calls that run together.
function make(wanted, client) {
  if ('kb' in wanted) return plain(client, 'lorem ip'.repeat(128 * wanted.kb))
  if ('turns' in wanted) return plain(client, 'lorem ip'.repeat(16), wanted.turns)
  if ('together' in wanted) return together(client, 'lorem ip'.repeat(128), wanted.together)
  const [how, size] = CASES[wanted.case]
  return how(client, 'lorem ip'.repeat(128 * size))
}

// Turns the loop, and keeps the longest time that it was held.
function ticking() {
  const ticker = { longest: 0, on: true }
  let last = ns()
  const tick = () => {
    const now = ns()
    ticker.longest = Math.max(ticker.longest, now - last)
    last = now
    if (ticker.on) setImmediate(tick)
  }
  setImmediate(tick)
  return ticker
}

const ns = () => Number(process.hrtime.bigint())

// For each round the times of both, the CPU times of both, their times without the last turn, and for how long each held the
// loop at most if that is asked for, in ns. The clock stops one turn of the loop after the
// call's end: what an observer leaves to that turn is done on the caller's thread all the same. CPU is the process's.
async function measure(calls, rounds, holds = false) {
  const out = []
  for (let round = 0; round < rounds; round++) {
    const took = [0, 0, 0, 0, 0, 0, 0, 0]
    const first = Math.random() < 0.5 ? 0 : 1
    for (const who of [first, 1 - first]) {
      const ticker = holds ? ticking() : null
      const usage = process.cpuUsage()
      const before = ns()
      await calls[who]()
      const after = ns()
      await new Promise((resolve) => setImmediate(resolve))
      took[who] = ns() - before
      const spent = process.cpuUsage(usage)
      took[2 + who] = (spent.user + spent.system) * 1e3
      took[4 + who] = after - before
      if (ticker) {
        ticker.on = false
        took[6 + who] = ticker.longest
      }
    }
    out.push(took)
  }
  return out
}

const clients = [new OpenAI(options), await observed()]
const warm = new Set()
for await (const line of createInterface(process.stdin)) {
  const wanted = JSON.parse(line)
  const calls = clients.map((client) => make(wanted, client))
  const name = JSON.stringify({ ...wanted, rounds: 0 })
  if (!warm.has(name)) await measure(calls, Math.min(WARM_UP, wanted.rounds))
  warm.add(name)
  console.log(JSON.stringify(await measure(calls, wanted.rounds, wanted.holds)))
}
process.exit(0)
