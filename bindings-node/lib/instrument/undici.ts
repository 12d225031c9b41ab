import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { claims } from '../covered.js'
import { begin, names, type Observing, picked, trouble } from '../observing.js'
import type { Recorder } from '../recorder.js'

/**
 * A request as undici makes it, Node's own or an installed one of any generation. It is told of what happens through its
 * methods, which have other names in the newer ones.
 */
interface UndiciRequest {
  origin: string | URL
  path: string
  method: string
  headers: unknown
  onData?: unknown
  [method: string]: unknown
}

/** The step of a request, and what its method is called in undici 5 to 7, and in 8. */
const STEPS = {
  sent: ['onBodySent', 'onBodySent'],
  head: ['onHeaders', 'onResponseStart'],
  piece: ['onData', 'onResponseData'],
  end: ['onComplete', 'onResponseEnd'],
  error: ['onError', 'onResponseError'],
} as const

/** Observes undici below `fetch` and everything else that is made of it, whichever dispatcher it goes through. @internal */
export function hookUndici(how: Observing): () => void {
  const created = (message: unknown): void => {
    try {
      const { request } = message as { request: UndiciRequest }
      const url = `${request.origin}${request.path}`
      // Before anything else: a call that is observed above has its request whether or not it is one of ours.
      if (claims(url)) return
      const { method, headers } = request
      const recorder = begin(how, { method, url, headers: pairs(headers) })
      if (recorder) listen(request, recorder)
    } catch {
      trouble(how)
    }
  }
  subscribe('undici:request:create', created)
  return () => unsubscribe('undici:request:create', created)
}

function listen(request: UndiciRequest, recorder: Recorder): void {
  const generation = typeof request.onData === 'function' ? 0 : 1
  const after = (step: keyof typeof STEPS, note: (args: unknown[], result: unknown) => void): void => {
    const name = STEPS[step][generation]
    const method = request[name]
    // Another shape: nothing would ever end.
    if (typeof method !== 'function') throw new TypeError(`undici has no ${name}`)
    request[name] = function (this: unknown, ...args: unknown[]): unknown {
      const result = method.apply(this, args)
      try {
        note(args, result)
      } catch {
        recorder.trouble()
      }
      return result
    }
  }
  const sent: Uint8Array[] = []
  try {
    after('sent', ([piece]) => sent.push(Buffer.from(piece as string)))
    after('head', ([status, headers]) => {
      // 1xx are not the answer.
      if (Number(status) < 200) return
      recorder.body(Buffer.concat(sent.splice(0)))
      recorder.decoded = false
      recorder.response(Number(status), picked(pairs(headers), names().response))
      recorder.reading()
    })
    after('piece', ([piece], goesOn) => {
      recorder.reading()
      recorder.piece(piece as Uint8Array)
      // Pieces are taken as they come, until the consumer has had enough for now.
      if (goesOn !== false) recorder.reading()
    })
    after('end', () => recorder.end('complete'))
    after('error', ([error]) => {
      if (sent.length > 0) recorder.body(Buffer.concat(sent.splice(0)))
      recorder.fail(error, undefined, undefined)
    })
  } catch (error) {
    recorder.discard()
    throw error
  }
}

/** Headers in any of the forms that undici has had: a list of names and values, text, or an object. */
function pairs(headers: unknown): Iterable<[string, unknown]> {
  if (typeof headers === 'string') {
    return headers.split('\r\n').flatMap((line): [string, unknown][] => {
      const colon = line.indexOf(':')
      return colon > 0 ? [[line.slice(0, colon), line.slice(colon + 1).trim()]] : []
    })
  }
  if (!Array.isArray(headers)) return Object.entries(headers ?? {})
  const found: [string, unknown][] = []
  for (let at = 0; at + 1 < headers.length; at += 2)
    found.push([String(headers[at]), String(headers[at + 1])])
  return found
}
