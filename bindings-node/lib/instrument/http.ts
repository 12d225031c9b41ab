import { ClientRequest, type IncomingMessage } from 'node:http'
import { covered } from '../covered.js'
import { observeNodeStream, whenDestroyed } from '../node-stream.js'
import { begin, names, type Observing, picked, trouble } from '../observing.js'
import type { Recorder } from '../recorder.js'
import { Sent } from './sent.js'

type Method = (this: ClientRequest, ...args: unknown[]) => unknown

/** Observes `node:http` and `node:https`: the SDKs that bring node-fetch or axios, and AWS's. @internal */
export function hookHttp(how: Observing): () => void {
  const prototype = ClientRequest.prototype as unknown as Record<string, Method>
  const calls = new WeakMap<ClientRequest, Sent | undefined>()
  const undo: (() => void)[] = []
  for (const name of ['write', 'end']) {
    const own = Object.getOwnPropertyDescriptor(prototype, name)
    const method = prototype[name] as Method
    const hooked: Method = function (...args) {
      try {
        if (!calls.has(this)) calls.set(this, covered() ? undefined : open(how, this))
        calls.get(this)?.add(args[0], args[1])
      } catch {
        calls.set(this, undefined)
        trouble(how)
      }
      return method.apply(this, args)
    }
    Object.defineProperty(prototype, name, { value: hooked, writable: true, configurable: true })
    undo.push(() => {
      // Whoever came after has kept ours: then it stays.
      if (prototype[name] !== hooked) return
      if (own) Object.defineProperty(prototype, name, own)
      else delete prototype[name]
    })
  }
  return () => {
    for (const one of undo) one()
  }
}

/** Begins to record a request, if it is one to a provider. */
function open(how: Observing, request: ClientRequest): Sent | undefined {
  const { method, path, protocol } = request
  const host = request.getHeader('host') ?? request.host
  // Through a proxy the path is the whole address.
  const url = /^https?:/i.test(path) ? path : `${protocol}//${host}${path}`
  const headers = { get: (name: string) => request.getHeader(name) }
  const recorder = begin(how, { method, url, headers })
  if (!recorder) return undefined
  const sent = new Sent(recorder)
  listen(request, recorder, sent)
  return sent
}

function listen(request: ClientRequest, recorder: Recorder, sent: Sent): void {
  const { emit } = request
  let left = false
  let tired = false
  whenDestroyed(request, () => {
    left = true
  })
  const steps: Record<string, (first: unknown) => void> = {
    response: (response) => {
      sent.over()
      answered(response as IncomingMessage, recorder)
    },
    timeout: () => {
      tired = true
    },
    error: (error) => {
      sent.over()
      if (left && tired) recorder.end('timeout', (error as Error).message)
      else if (left) recorder.end('abandoned')
      else recorder.fail(error, undefined, undefined)
    },
    // After an answer its own stream says how it ended.
    close: () => {
      sent.over()
      if (!request.res) recorder.end('abandoned')
    },
  }
  const hooked = (name: string | symbol, ...args: unknown[]): boolean => {
    if (typeof name === 'string' && Object.hasOwn(steps, name)) {
      try {
        steps[name]?.(args[0])
      } catch {
        recorder.trouble()
      }
    }
    return emit.call(request, name as string, ...args)
  }
  Object.defineProperty(request, 'emit', { value: hooked, writable: true, configurable: true })
}

function answered(response: IncomingMessage, recorder: Recorder): void {
  recorder.decoded = false
  recorder.response(response.statusCode ?? 0, picked(response.headers, names().response))
  observeNodeStream(response, recorder, undefined)
}

declare module 'node:http' {
  interface ClientRequest {
    /** The answer, once it came. */
    res?: IncomingMessage
  }
}
