import type { Readable } from 'node:stream'
import { asking, reservationOf } from '../budget.js'
import { covered, covering } from '../covered.js'
import { broke, observeNodeStream } from '../node-stream.js'
import { begin, bytesOf, names, type Observing, picked, trouble } from '../observing.js'
import type { Recorder } from '../recorder.js'
import { observeStream } from '../stream.js'
import { isFunction, isObject, type Kind } from './kind.js'

/** A request as the SDK hands it to its HTTP stack. */
interface AwsRequest {
  method: string
  protocol: string
  hostname: string
  port?: number
  path: string
  query?: Record<string, unknown>
  headers: Record<string, string>
  body?: unknown
}

interface AwsResponse {
  statusCode: number
  headers: Record<string, string>
  body?: unknown
}

type Next = (args: { request: AwsRequest }) => Promise<{ response: AwsResponse }>
type Middleware = (next: Next) => Next

interface Aws {
  send: unknown
  config: object
  middlewareStack: {
    add(middleware: Middleware, options: object): void
    clone(): Aws['middlewareStack']
    identify?(): string[]
  }
}

const NAME = 'llmtrail'

/** The clients of the AWS SDK: their public middleware sees each attempt, whichever HTTP stack makes it. @internal */
export const wrapAws: Kind = (client, how) => {
  if (!isAws(client)) return undefined
  return () => {
    const hooked = how.copy ? twin(client) : client
    const { middlewareStack: stack } = hooked
    // Closest to the HTTP stack: below what reads the response, and once an attempt.
    stack.add(middleware(how), { step: 'deserialize', priority: 'low', name: NAME, override: true })
    if (stack.identify && !stack.identify().some((found) => found.includes(NAME))) {
      how.fail('its middleware stack takes nothing')
    }
    return hooked
  }
}

/** A client that shares everything but the middleware. */
function twin(client: Aws): Aws {
  const middlewareStack = client.middlewareStack.clone()
  return Object.assign(Object.create(Object.getPrototypeOf(client)), client, { middlewareStack })
}

function isAws(client: object): client is Aws {
  const { send, config, middlewareStack: stack } = client as Partial<Aws>
  return isFunction(send) && isObject(config) && isObject(stack) && isFunction(stack.add)
}

function middleware(how: Observing): Middleware {
  return (next) => async (args) => {
    if (covered()) return next(args)
    let recorder: Recorder | undefined
    try {
      recorder = beginAws(how, args.request)
    } catch {
      trouble(how)
    }
    if (!recorder) return next(args)
    if (asking.wanted) {
      try {
        const { body } = args.request
        const text = typeof body === 'string' ? body : undefined
        recorder.reservation = reservationOf(how, recorder.url, undefined, text, bytesOf(body))
      } catch (error) {
        recorder.discard()
        throw error
      }
    }
    try {
      const result = await covering(recorder.url, () => next(args))
      answered(result.response, recorder)
      return result
    } catch (error) {
      broke(recorder, error, undefined)
      throw error
    }
  }
}

function beginAws(how: Observing, request: AwsRequest): Recorder | undefined {
  const { method, protocol, hostname, port, path, headers, body } = request
  const url = `${protocol}//${hostname}${port ? `:${port}` : ''}${path}`
  const text = typeof body === 'string' ? body : undefined
  return begin(how, { method, url, headers, text, bytes: bytesOf(body) })
}

/** The response's head came. The SDK reads its body as it is on the wire. */
function answered(response: AwsResponse, recorder: Recorder): void {
  try {
    const { statusCode, headers, body } = response
    recorder.decoded = false
    recorder.response(statusCode, picked(headers, names().response))
    if (isFunction((body as ReadableStream | undefined)?.getReader)) {
      observeStream(body as ReadableStream<Uint8Array>, recorder, undefined, false)
    } else if (isFunction((body as Readable | undefined)?.on)) {
      observeNodeStream(body as Readable, recorder, undefined)
    } else {
      recorder.end('complete')
    }
  } catch {
    recorder.trouble()
    recorder.end('abandoned')
  }
}
