// The memory of one process in one state, in MB: `memory_subject.mjs llmtrail idle|own|queued|dead HOST COUNT`. As in Python.

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memory, properties } from './generation.mjs'

const LATER = 3_600_000
const [, , asked, state, host, count] = process.argv
if (asked === 'disabled') process.env.LLMTRAIL_ENABLED = 'false'
const waits = state === 'queued'

async function llmtrail() {
  const { init, capture, flush } = await import('llmtrail')
  // Nobody is at the host then.
  const wait = waits ? { spool: 'off' } : {}
  init({ apiKey: 'phc_bench', host, dir: mkdtempSync(join(tmpdir(), 'llmtrail-')), ...wait })
  const one = () => capture('$ai_generation', { distinctId: 'user-1', properties: { ...properties } })
  return [one, () => flush(10_000)]
}

async function posthog() {
  const { PostHog } = await import('posthog-node')
  const wait = waits ? { flushAt: 1 << 20, flushInterval: LATER } : {}
  const peer = new PostHog('phc_bench', { host, maxQueueSize: 1 << 20, ...wait })
  const one = () => peer.capture({ distinctId: 'user-1', event: '$ai_generation', properties: { ...properties } })
  return [one, () => peer.flush()]
}

if (asked !== 'bare') {
  const [capture, flush] = await (asked === 'posthog-node' ? posthog : llmtrail)()
  if (state === 'idle' || state === 'own') {
    capture()
    await flush()
  }
  for (let n = 0; n < Number(count); n++) {
    capture()
    if (n % 100 === 99) await new Promise((resolve) => setImmediate(resolve))
  }
}
await new Promise((resolve) => setTimeout(resolve, 1000))
globalThis.gc()
console.log(memory({ dead: 'VmHWM', own: 'RssAnon' }[state] ?? 'VmRSS'))
// Nothing of it is to be sent now.
process.reallyExit(0)
