import type { Client } from './client.js'
import { coded, isError } from './errors.js'
import { type NativeScope, type NativeTimer, native } from './native.js'
import { type Packed, pack } from './pack.js'
import { currentScope, described, Scope } from './scope.js'

/** What can be given to `capture`. What is absent is that of the surrounding scope, else of the client. */
export interface CaptureOptions {
  /** Who it is about. */
  distinctId?: string
  /** Free-form properties; they win over the scope's. */
  properties?: Record<string, unknown>
  /** PostHog groups, `{ company: 'id' }`. */
  groups?: Record<string, unknown>
  /** When it happened: a date or milliseconds since 1970; default: now. */
  timestamp?: Date | number
  /** The event's id; default: a fresh one. */
  uuid?: string
}

/** Whom an event is for and where it belongs; what is absent is that of the surrounding scope. */
export interface Where {
  /** The person or machine that it is for. */
  distinctId?: string
  /** The conversation that it belongs to. */
  sessionId?: string
  /** The trace that it belongs to. */
  traceId?: string
  /** The span, or other event, that it belongs below. */
  parentId?: string
  /** Free-form properties. */
  properties?: Record<string, unknown>
  /** PostHog groups, `{ company: 'id' }`. */
  groups?: Record<string, unknown>
  /** True hides its content. */
  privacy?: boolean
}

/** What can be told of a generation or an embedding. Everything is optional; what is absent stays absent. */
export interface CallRecord extends Where {
  /** Its name in the tree. */
  name?: string
  /** The model that answered. */
  model?: string
  /** Who served it; the price depends on it. */
  provider?: string
  /** A text, messages, or what was embedded. */
  input?: unknown
  /** The answer: a text, a message, or a list with one message per choice. */
  output?: unknown
  /** The tools that the model could call. */
  tools?: unknown[]
  /** What shaped the answer: temperature and the like. */
  parameters?: Record<string, unknown>
  /**
   * What it used: the provider's own usage object, or counts by name: `inputTokens`, `outputTokens`,
   * `cacheReadInputTokens`, `reasoningTokens` and so on.
   */
  usage?: object
  /** What it cost in US dollars, where that is known better than from a price list. */
  costUsd?: number | string
  /** Why the answer ended. */
  stopReason?: string
  /** It was streamed. */
  stream?: boolean
  /** When it began: a date or milliseconds since 1970; default: `latency` ago. */
  timestamp?: Date | number
  /** How long it took, in milliseconds. */
  latency?: number
  /** How long until the first piece of the answer, in milliseconds; what has one was streamed. */
  timeToFirstToken?: number
  /** The HTTP status, where there was one. */
  httpStatus?: number
  /** Scheme, host and path of the server. */
  baseUrl?: string
  /** What went wrong: an error or a text. */
  error?: unknown
  /** The error's type, where the error does not say it. */
  errorType?: string
  /** Its own id; default: a fresh one. */
  spanId?: string
}

/** What can be told of a trace that is over. */
export interface TraceRecord extends Where {
  /** Its name. */
  name?: string
  /** What went in. */
  input?: unknown
  /** What came out. */
  output?: unknown
  /** When it began: a date or milliseconds since 1970; default: `latency` ago. */
  timestamp?: Date | number
  /** How long it took, in milliseconds. */
  latency?: number
  /** What went wrong: an error or a text. */
  error?: unknown
  /** The error's type, where the error does not say it. */
  errorType?: string
}

/** What can be told of a span that is over. */
export interface SpanRecord extends TraceRecord {
  /** `tool`, `retrieval`, `agent`, `chain`, `guardrail` or free text. */
  type?: string
  /** Its own id; default: a fresh one. */
  spanId?: string
}

/** What somebody thinks of a trace: a score, a comment, or both. */
export interface Feedback {
  /** Becomes a metric of the name `score`. */
  score?: number | boolean | string
  /** Becomes a feedback text. */
  comment?: string
  /** Who says so; default: whom the trace is for. */
  distinctId?: string
  /** Free-form properties. */
  properties?: Record<string, unknown>
}

/** A trace to judge: one that was opened here, one by its id, or (undefined) the current one. */
export type TraceRef = Scope | string | undefined

/** @internal */
export function capture(client: Client, event: string, options: CaptureOptions): string {
  const { uuid, timestamp, ...others } = options
  const id = uuid === undefined || uuid === null ? undefined : String(uuid)
  const name = String(event)
  const { memory, length } = pack({ ...others, uuid: id, timestamp: time(timestamp) })
  return coded(() => client.native.capture(here(), name, memory, length))
}

/** @internal */
export function captureCall(client: Client, embedding: boolean, record: CallRecord): string {
  const { memory, length } = told(record)
  return coded(() => native().captureCall(client.number, here(), embedding, memory, length))
}

/** @internal */
export function captureStep(client: Client, kind: 'span' | 'trace', name: string, record: object): string {
  const { memory, length } = told({ ...record, name })
  return coded(() => client.native.captureStep(here(), kind, memory, length))
}

/** @internal */
export function feedback(client: Client, trace: TraceRef, said: Feedback): void {
  const [scope, id] = which(trace)
  const { memory, length } = pack(said)
  coded(() => client.native.feedback(here(), scope, id, memory, length))
}

/** @internal */
export function metric(client: Client, trace: TraceRef, name: string, value: unknown, options: object): void {
  const [scope, id] = which(trace)
  const named = String(name)
  const { memory, length } = pack({ ...options, value })
  coded(() => client.native.metric(here(), scope, id, named, memory, length))
}

/** A call of your own while it lasts. Set what is known of it as members. Nothing here throws. */
export class Generation {
  /** The model that answers. */
  model: string | undefined
  /** Who serves it. */
  provider: string | undefined
  /** A text or messages. */
  input: unknown
  /** The answer: a text, a message, or a list with one message per choice. */
  output: unknown
  /** What it used; see {@link CallRecord.usage}. */
  usage: object | undefined
  /** What it cost in US dollars, where that is known better than from a price list. */
  costUsd: number | string | undefined
  /** Why the answer ended. */
  stopReason: string | undefined
  /** The HTTP status. */
  httpStatus: number | undefined
  readonly #client: Client
  readonly #others: CallRecord
  readonly #timer: NativeTimer | undefined
  #properties: Record<string, unknown>

  /** @internal */
  constructor(client: Client, embedding: boolean, record: CallRecord) {
    const { model, provider, input, output, usage, costUsd, stopReason, httpStatus, properties, ...others } =
      record
    this.model = model
    this.provider = provider
    this.input = input
    this.output = output
    this.usage = usage
    this.costUsd = costUsd
    this.stopReason = stopReason
    this.httpStatus = httpStatus
    this.#properties = { ...properties }
    this.#others = others
    this.#client = client
    try {
      this.#timer = client.native.timer(here(), embedding)
    } catch {
      client.note()
    }
  }

  /** Its own id, by which others can name it as their `parentId`. */
  get spanId(): string | undefined {
    return this.#timer?.id
  }

  /** Adds properties to its event. */
  set(properties: Record<string, unknown>): void {
    this.#properties = { ...this.#properties, ...properties }
  }

  /** The first piece of the answer came. Only the first call counts. */
  firstToken(): void {
    this.#timer?.firstToken()
  }

  /** Ends and records it, with what went wrong, if anything did. Only the first call counts. */
  end(error?: unknown): void {
    const { model, provider, input, output, usage, costUsd, stopReason, httpStatus } = this
    const record = { ...this.#others, model, provider, input, output, usage, costUsd, stopReason, httpStatus }
    try {
      this.#client.captures++
      const ended = { ...record, properties: this.#properties, error: error ?? this.#others.error }
      const { memory, length } = told(ended)
      this.#timer?.end(memory, length)
    } catch {
      this.#client.note()
    }
  }

  /** `using generation = startGeneration(...)` ends it with its block. */
  [Symbol.dispose](): void {
    this.end()
  }
}

const here = (): NativeScope | undefined => currentScope()?.native

function which(trace: TraceRef): [NativeScope | undefined, string | undefined] {
  if (trace instanceof Scope) return [trace.native, undefined]
  return [undefined, trace === undefined || trace === null ? undefined : String(trace)]
}

/** What was told, packed, with times as numbers and errors as what they say. */
function told(record: object): Packed {
  if (asItIs(record)) return pack(record)
  const members: { timestamp?: unknown; error?: unknown; errorType?: unknown } = { ...record }
  members.timestamp = time(members.timestamp)
  if (isError(members.error)) {
    const [type, message] = described(members.error)
    members.error = message
    members.errorType ??= type
  }
  return pack(members)
}

function asItIs(record: object & { timestamp?: unknown; error?: unknown }): boolean {
  if (typeof record !== 'object' || record === null) return false
  if (Object.getPrototypeOf(record) !== Object.prototype) return false
  return typeof record.timestamp !== 'object' && typeof record.error !== 'object'
}

const time = (given: unknown): unknown => (given instanceof Date ? given.getTime() : given)
