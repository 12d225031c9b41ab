// Captures and delivers so many generations of 2 KB, by hand, in Node: `delivery_subject.mjs llmtrail HOST COUNT`.

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { input, memory, output, properties } from './generation.mjs'

const [, , observer, host, given] = process.argv
const count = Number(given)

async function llmtrail() {
  const { init, captureGeneration, flush } = await import('llmtrail')
  init({ apiKey: 'phc_bench', host, dir: mkdtempSync(join(tmpdir(), 'llmtrail-')), maxMemory: 512 << 20 })
  const capture = () =>
    captureGeneration({
      model: 'gpt-5-mini',
      provider: 'openai',
      input,
      output,
      usage: { inputTokens: 200, outputTokens: 150 },
      latency: 1250,
      traceId: 'trace-1',
      distinctId: 'user-1',
    })
  return [capture, () => flush(120_000)]
}

async function posthog() {
  const { PostHog } = await import('posthog-node')
  const peer = new PostHog('phc_bench', { host, maxQueueSize: 1 << 20, flushAt: 100, maxBatchSize: 100 })
  const capture = () => peer.capture({ distinctId: 'user-1', event: '$ai_generation', properties: { ...properties } })
  return [capture, () => peer.shutdown(120_000)]
}

const [capture, flush] = await { llmtrail, 'posthog-node': posthog }[observer]()
const ns = () => Number(process.hrtime.bigint())
const took = []
const begun = ns()
const before = process.cpuUsage()
for (let n = 0; n < count; n++) {
  const at = ns()
  capture()
  took.push(ns() - at)
  // A server's loop turns now and then.
  if (n % 100 === 99) await new Promise((resolve) => setImmediate(resolve))
}
await flush()
const wall = ns() - begun
const spent = process.cpuUsage(before)
took.sort((a, b) => a - b)
console.log(
  JSON.stringify({
    capture_us: took[count >> 1] / 1e3,
    capture_p99_us: took[Math.floor(count * 0.99)] / 1e3,
    wall_s: wall / 1e9,
    cpu_us: (spent.user + spent.system) / count,
    memory_mb: memory('VmHWM'),
  }),
)
process.exit(0)
