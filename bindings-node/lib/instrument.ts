import type { Client } from './client.js'
import { layered } from './covered.js'
import { type Fetch, observe } from './fetch.js'
import { hookHttp } from './instrument/http.js'
import { hookHttp2 } from './instrument/http2.js'
import { hookUndici } from './instrument/undici.js'
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
const LAYERS: [name: string, hook: (how: Observing) => () => void][] = [
  ['fetch', hookFetch],
  ['undici', hookUndici],
  ['node:http', hookHttp],
  ['node:http2', hookHttp2],
]

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
  seen = LAYERS.map(([what]) => ({ what, calls: 0 }))
  unhook = LAYERS.map(([, hook], at) => hook({ ...how, seen: seen[at] }))
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
