// Captures and delivers so many generations of 2 KB, by hand, in Node: `delivery_subject.mjs llmtrail HOST COUNT`.

import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const input = [{ role: 'user', content: 'lorem ip'.repeat(96) }]
const output = [{ role: 'assistant', content: 'word '.repeat(150) }]
const [, , observer, host, given] = process.argv
const count = Number(given)

// The most memory that was resident, in MB. Not by `resourceUsage`, which keeps what the parent had at the fork.
const peak = () => Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024

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
  const properties = {
    $ai_model: 'gpt-5-mini',
    $ai_provider: 'openai',
    $ai_input: input,
    $ai_output_choices: output,
    $ai_input_tokens: 200,
    $ai_output_tokens: 150,
    $ai_latency: 1.25,
    $ai_trace_id: 'trace-1',
  }
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
    memory_mb: peak(),
  }),
)
process.exit(0)
