// Threads with an environment of their own each, over and over: `threads.mjs ROUNDS CHILD PARENT`.
//
// In each round two threads capture CHILD events each, at once, while the main thread captures PARENT; they end in one of
// the ways that threads have, the last one with the process. Prints what was captured.
import { writeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { capture } from '../../bindings-node/dist/index.mjs'

const [rounds, child, parent] = process.argv.slice(2).map(Number)
const library = new URL('../../bindings-node/dist/index.mjs', import.meta.url)
const ends = {
  itself: '',
  exit: 'process.exit(0)',
  terminated: 'setInterval(() => {}, 1000)',
  thrown: 'throw new Error("the end")',
}

function captureAll(name, count) {
  for (let n = 0; n < count; n++) capture(name, { distinctId: 'user', properties: { n, text: 'x'.repeat(200) } })
}

/** A thread that captures and ends in this way. */
function start(end) {
  const program = `
    import { parentPort } from 'node:worker_threads'
    import { capture } from ${JSON.stringify(library.href)}
    const captureAll = ${captureAll}
    captureAll('child', ${child})
    parentPort.postMessage('captured')
    ${ends[end]}`
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`))
}

/** Done when it has ended. */
function ended(end) {
  const worker = start(end)
  if (end === 'terminated') worker.once('message', () => worker.terminate())
  return new Promise((resolve, reject) => {
    worker.once('error', (error) => (end === 'thrown' ? undefined : reject(error)))
    worker.once('exit', resolve)
  })
}

const names = Object.keys(ends)
for (let round = 0; round < rounds; round++) {
  const both = [ended(names[round % names.length]), ended(names[(round + 1) % names.length])]
  captureAll('parent', parent)
  await Promise.all(both)
}
await new Promise((resolve) => start('terminated').once('message', resolve))
writeSync(1, JSON.stringify({ child: (2 * rounds + 1) * child, parent: rounds * parent }))
process.exit()
