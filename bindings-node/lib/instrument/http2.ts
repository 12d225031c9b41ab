import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { Duplex } from 'node:stream'
import { covered } from '../covered.js'
import { observeNodeStream } from '../node-stream.js'
import { begin, names, type Observing, picked, trouble } from '../observing.js'
import type { Recorder } from '../recorder.js'
import { Sent } from './sent.js'

type Request = ClientHttp2Session['request']
type Loose = Record<string, (...args: unknown[]) => unknown>

/** Observes `node:http2`, which AWS's SDK speaks with Bedrock. @internal */
export function hookHttp2(how: Observing): () => void {
  const prototype = sessionPrototype()
  const { request } = prototype
  const hooked: Request = function (this: ClientHttp2Session, headers, ...rest) {
    let recorder: Recorder | undefined
    try {
      recorder = covered() ? undefined : open(how, this, headers ?? {})
    } catch {
      trouble(how)
    }
    const stream = request.call(this, headers, ...rest)
    try {
      if (recorder) listen(stream, recorder)
    } catch {
      recorder?.trouble()
    }
    return stream
  }
  prototype.request = hooked
  return () => {
    // Whoever came after has kept ours: then it stays.
    if (prototype.request === hooked) prototype.request = request
  }
}

/** The class of sessions is not public: one that goes nowhere shows it. */
function sessionPrototype(): ClientHttp2Session {
  const nowhere = new Duplex({ read() {}, write: (_piece, _encoding, done) => done() })
  const session = connect('http://localhost', { createConnection: () => nowhere })
  session.on('error', () => {})
  const prototype = Object.getPrototypeOf(session)
  session.destroy()
  nowhere.destroy()
  return prototype
}

function open(how: Observing, session: ClientHttp2Session, given: OutgoingHttpHeaders | readonly string[]) {
  if (Array.isArray(given)) return undefined
  const headers = given as OutgoingHttpHeaders
  const authority = headers[':authority'] ?? headers.host ?? session.originSet?.[0]?.replace(/^.*:\/\//, '')
  const scheme = headers[':scheme'] ?? (session.encrypted ? 'https' : 'http')
  const url = `${scheme}://${authority}${headers[':path'] ?? '/'}`
  return begin(how, { method: String(headers[':method'] ?? 'GET'), url, headers })
}

function listen(stream: ClientHttp2Stream, recorder: Recorder): void {
  const sent = new Sent(recorder)
  const loose = stream as unknown as Loose
  const before = (name: string, note: (...args: unknown[]) => void): void => {
    const method = loose[name]
    if (!method) return
    const hooked = (...args: unknown[]): unknown => {
      try {
        note(...args)
      } catch {
        recorder.trouble()
      }
      return method.apply(stream, args)
    }
    Object.defineProperty(stream, name, { value: hooked, writable: true, configurable: true })
  }
  before('write', (piece, encoding) => sent.add(piece, encoding))
  before('end', (piece, encoding) => sent.add(piece, encoding))
  recorder.decoded = false
  observeNodeStream(stream, recorder, undefined)
  // On top of what listens to the body.
  before('emit', (name, first) => {
    if (name === 'response') {
      sent.over()
      const headers = first as Record<string, unknown>
      recorder.response(Number(headers[':status'] ?? 0), picked(headers, names().response))
    } else if (name === 'error' || name === 'close') sent.over()
  })
}
