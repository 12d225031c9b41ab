// A program that captures what it is told, as capturer.rs does: the one in Node that has to survive the faults.
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { inspect } from 'node:util'
import { capture, flush, init, shutdown, stats } from '../../bindings-node/dist/index.mjs'

let captured = 0
const client = init()

/** Captures, and says what the median capture took of the caller. */
function captureAll(count, text) {
  const took = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const begun = performance.now()
    const properties = { $ai_model: 'gpt-5-mini', n: captured, text }
    capture('$ai_generation', { distinctId: 'user', properties })
    took[i] = performance.now() - begun
    captured++
  }
  return { median_us: took.sort()[count >> 1] * 1000 }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, number = '0', text = 'hello'] = line.split(' ')
  const begun = performance.now()
  let answer = {}
  if (command === 'capture') answer = captureAll(Number(number), text)
  else if (command === 'flush') answer = await flush(Number(number))
  else if (command === 'shutdown') answer = await shutdown(Number(number))
  else if (command === 'stats') {
    const { queuedBytes: queued_bytes, lastError: last_error = null, ...others } = stats()
    answer = { ...others, queued_bytes, last_error }
  } else if (command === 'repr') answer = { repr: inspect([client, stats()], { depth: 9, showHidden: true }) }
  else if (command === 'exit') process.exit(0)
  else throw new Error(`unknown command: ${line}`)
  writeSync(1, `${JSON.stringify({ ...answer, took_ms: Math.round(performance.now() - begun) })}\n`)
}
