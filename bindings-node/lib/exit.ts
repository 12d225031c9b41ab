import type { Client } from './client.js'
import { endCalls } from './recorder.js'

/** How long the end of a program may take, when nothing else keeps it alive. */
const PATIENCE = 2000
/** The same after `process.exit`, when all else stands still. */
const HASTE = 500

const clients = new Map<Client, number>()

/** From now on what a client still holds is delivered before the process ends. Nothing of this keeps it alive. @internal */
export function deliverAtExit(client: Client): void {
  if (clients.size === 0) {
    process.on('beforeExit', beforeExit)
    process.on('exit', exit)
  }
  clients.set(client, 0)
}

/** A client that was shut down has nothing left. @internal */
export function forget(client: Client): void {
  clients.delete(client)
  if (clients.size === 0) {
    process.off('beforeExit', beforeExit)
    process.off('exit', exit)
  }
}

function beforeExit(): void {
  endCalls()
  for (const [client, done] of clients) {
    // Flushing brings this event again: once for what was there is enough, even if the server took nothing.
    if (client.captures === done) continue
    clients.set(client, client.captures)
    void client.flush(PATIENCE)
  }
}

function exit(): void {
  endCalls()
  const until = performance.now() + HASTE
  for (const client of clients.keys()) {
    if (client.captures === 0) continue
    if (client.hooks && (client.native.stats().pending > 0 || client.hooks.names.includes('onGeneration'))) {
      // What is captured goes through the hooks only while somebody asks for it: another thread does, meanwhile.
      void client.native.shutdown(Math.max(50, until - performance.now()))
      client.hooks.workNow(until)
    }
    client.native.shutdownNow(Math.max(50, until - performance.now()))
  }
}
