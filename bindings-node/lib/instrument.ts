import type { Client } from './client.js'
import { layered } from './covered.js'
import { type Fetch, observe } from './fetch.js'
import { native } from './native.js'
import type { Observing, Seen } from './observing.js'

let current: (() => Client) | undefined
let unhook: (() => void)[] = []

/** Whoever was observed while this was on is asked again here at each call: clients keep the `fetch` that they found. */
const how: Observing = {
  client: () => (current as () => Client)(),
  provider: undefined,
  certain: true,
}

/**
 * The layers that are observed, the upper ones first; a call that passes through several is recorded by the first. What
 * was made before is seen as well, below the `fetch` that it has kept.
 */
function layers(): [name: string, hook: (how: Observing) => () => void][] {
  // Loaded when they are asked for: `node:http` and `node:http2` take as long as the rest of the package.
  const { hookUndici } = require('./instrument/undici.js') as typeof import('./instrument/undici.js')
  const { hookHttp } = require('./instrument/http.js') as typeof import('./instrument/http.js')
  const { hookHttp2 } = require('./instrument/http2.js') as typeof import('./instrument/http2.js')
  return [
    ['fetch', hookFetch],
    ['undici', hookUndici],
    ['node:http', hookHttp],
    ['node:http2', hookHttp2],
  ]
}

let seen: Seen[] = []

/** The layers that are observed at present. @internal */
export const instrumented = (): Seen[] => seen

/** Has the calls of the whole process recorded. @internal */
export function instrumentProcess(client: () => Client): void {
  // Without its core nothing would be recorded, which must be said here and not be found out later.
  native()
  current = client
  if (unhook.length > 0) return
  layered(true)
  const hooks = layers()
  seen = hooks.map(([what]) => ({ what, calls: 0 }))
  unhook = hooks.map(([, hook], at) => hook({ ...how, seen: seen[at] }))
}

/** Ends that. @internal */
export function uninstrumentProcess(): void {
  for (const undo of unhook.splice(0).reverse()) undo()
  current = undefined
  seen = []
  layered(false)
}

function hookFetch(how: Observing): () => void {
  const before = globalThis.fetch
  const observed: Fetch = observe({ ...how, inner: before, active: () => current !== undefined })
  globalThis.fetch = observed
  return () => {
    // Whoever came after has kept ours: then it stays, and does nothing.
    if (globalThis.fetch === observed) globalThis.fetch = before
  }
}
