import { AsyncLocalStorage } from 'node:async_hooks'
import { types } from 'node:util'
import type { Client } from './client.js'
import { isError } from './errors.js'
import { toJson } from './json.js'
import type { NativeScope, Totals } from './native.js'

/** What can be given to any scope. What is absent is inherited from the scope around it. */
export interface ScopeOptions {
  /** The person or machine the calls are for. */
  distinctId?: string
  /** The conversation that the calls belong to. */
  sessionId?: string
  /** Free-form properties for every event inside; the inner scope wins. */
  properties?: Record<string, unknown>
  /** PostHog groups, `{ company: 'id' }`; the inner scope wins by key. */
  groups?: Record<string, unknown>
  /** True hides content. A scope can tighten privacy, never loosen it. */
  privacy?: boolean
}

/** What can be given to a trace. */
export interface TraceOptions extends ScopeOptions {
  /** The trace's id; default: a fresh one. */
  traceId?: string
  /** What went in. */
  input?: unknown
}

/** What can be given to a span. */
export interface SpanOptions extends ScopeOptions {
  /** `tool`, `retrieval`, `agent`, `chain`, `guardrail` or free text. */
  type?: string
  /** The span that it belongs below, when that is known from elsewhere. */
  parentId?: string
  /** What went in. */
  input?: unknown
}

/** @internal */
export type ScopeKind = 'session' | 'trace' | 'span' | 'options'

/** That code runs in a scope; where it was entered also what was before. */
interface Frame {
  scope: Scope | undefined
  entered?: { before: Frame | undefined }
}

const storage = new AsyncLocalStorage<Frame | undefined>()

/** Code goes on in what it entered when that has ended (an async function leaves it to its caller): not in our eyes. */
function currentFrame(): Frame | undefined {
  let frame = storage.getStore()
  while (frame?.entered && frame.scope?.isEnded) frame = frame.entered.before
  return frame
}

/** The scope that the running code is in. @internal */
export function currentScope(): Scope | undefined {
  return currentFrame()?.scope
}

/** The scope of a call that begins now; outside of any trace that of the active OpenTelemetry trace. @internal */
export function scopeOfCall(client: Client): NativeScope | undefined {
  const scope = currentScope()
  if (otel() && !scope?.native.traceId) {
    const traceId = otelTraceId()
    if (traceId) return client.native.open('options', scope?.native, JSON.stringify({ traceId }))
  }
  return scope?.native
}

/** What OpenTelemetry's API keeps for all its copies in a process. It is never set and only read. */
const OTEL = Symbol.for('opentelemetry.js.api.1')
const OTEL_SPAN = Symbol.for('OpenTelemetry Context Key SPAN')

interface OtelContext {
  getValue(key: symbol): { spanContext(): { traceId: string } } | undefined
}

function otel(): { context?: { active(): OtelContext } } | undefined {
  return (globalThis as Record<symbol, object | undefined>)[OTEL]
}

/** The id of the OpenTelemetry trace that is active, if there is one. */
function otelTraceId(): string | undefined {
  try {
    const traceId = otel()?.context?.active().getValue(OTEL_SPAN)?.spanContext().traceId
    return traceId && /^[0-9a-f]{32}$/.test(traceId) && !/^0+$/.test(traceId) ? traceId : undefined
  } catch {
    return undefined
  }
}

/** A session, trace, span or set of options that calls are made in. */
export class Scope {
  /** @internal */
  readonly native: NativeScope
  readonly #client: Client
  #input: unknown
  #output: unknown
  #ended = false

  /** @internal */
  constructor(client: Client, kind: ScopeKind, parent: Scope | undefined, options: object) {
    this.#client = client
    this.#input = (options as SpanOptions).input
    const active = otel() && (kind === 'trace' || kind === 'span') ? otelTraceId() : undefined
    const given = active === undefined ? options : { ...options, otelTraceId: active }
    this.native = client.native.open(kind, parent?.native, toJson(given))
  }

  /** The name that it was given last. */
  get name(): string | undefined {
    return this.native.name ?? undefined
  }
  set name(name: string) {
    this.#say(() => this.native.setName(String(name)))
  }

  /** Sets a span's type: `tool`, `retrieval`, `agent`, `chain`, `guardrail` or free text. */
  set type(kind: string) {
    this.#say(() => this.native.setType(String(kind)))
  }

  /** The trace that calls in here belong to; undefined when each is a trace of its own. */
  get traceId(): string | undefined {
    return this.native.traceId ?? undefined
  }

  /** The span's own id; undefined for other kinds. */
  get spanId(): string | undefined {
    return this.native.spanId ?? undefined
  }

  /** The session that calls in here belong to. */
  get sessionId(): string | undefined {
    return this.native.sessionId ?? undefined
  }

  /** The person or machine that calls in here are for. */
  get distinctId(): string | undefined {
    return this.native.distinctId ?? undefined
  }

  /** What went in. */
  get input(): unknown {
    return this.#input
  }
  set input(value: unknown) {
    this.#input = value
    this.#say(() => this.native.setInput(toJson(value)))
  }

  /** What came out. */
  get output(): unknown {
    return this.#output
  }
  set output(value: unknown) {
    this.#output = value
    this.#say(() => this.native.setOutput(toJson(value)))
  }

  /** Adds properties to this scope's own event. Never throws. */
  set(properties: Record<string, unknown>): void {
    this.#say(() => this.native.setProperties(toJson(properties)))
  }

  #say(what: () => void): void {
    try {
      what()
    } catch {
      this.#client.note()
    }
  }

  /** What the calls in here used and cost so far. Waits until they are decoded, at most `timeoutMs`. */
  usage(timeoutMs = 2000): Promise<Totals> {
    return this.#client.native.totals(this.native, timeoutMs)
  }

  /** What the calls in here cost so far in US dollars; undefined when that is not known. See {@link usage}. */
  async costUsd(timeoutMs?: number): Promise<number | undefined> {
    return (await this.usage(timeoutMs)).costUsd ?? undefined
  }

  /** Runs a function inside this scope, which goes on after it. */
  run<T>(fn: () => T): T {
    return storage.run({ scope: this }, fn)
  }

  /** Opens a span inside this scope. It lasts until its `end`. */
  startSpan(name: string, options: SpanOptions = {}): Scope {
    return new Scope(this.#client, 'span', this, { ...options, name })
  }

  /**
   * Makes this scope the current one for the rest of the running function and what it calls, until it ends. In an async
   * function its caller is in it too, from then on: prefer `run` where several are started side by side.
   */
  enter(): this {
    storage.enterWith({ scope: this, entered: { before: currentFrame() } })
    return this
  }

  /** Marks it as failed. Its end sends that along. */
  fail(error: unknown): void {
    this.#say(() => this.native.setError(...described(error)))
  }

  /** @internal */
  get isEnded(): boolean {
    return this.#ended
  }

  /**
   * Ends it, with what went wrong, if anything did (null is nothing, as in callbacks): a trace or span sends its event.
   * Only the first call counts.
   */
  end(error?: unknown): void {
    if (error !== undefined && error !== null && !this.#ended) this.fail(error)
    this.#ended = true
    const frame = storage.getStore()
    if (frame?.entered && frame.scope === this) storage.enterWith(currentFrame())
    this.#client.ended(this.native)
  }

  /** `using trace = startTrace(...)` ends it with its block, which does not tell it of an exception: say `fail`. */
  [Symbol.dispose](): void {
    this.end()
  }

  /** `await using trace = startTrace(...)` ends it with its block. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end()
  }
}

/**
 * Binds a function to the scope that is current now: for listeners and queues, which are called from elsewhere.
 * Outside of any scope it is the function itself that is called, outside of any.
 */
export function carry<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => R {
  const scope = currentScope()
  return function (this: unknown, ...args: A): R {
    return storage.run({ scope }, () => fn.apply(this, args))
  }
}

/** Runs a function in a scope that ends with it: when its promise is settled, or its generator done. @internal */
export function inScope<T>(scope: Scope, fn: (scope: Scope) => T): T {
  return whileItLasts(scope, () => storage.run({ scope }, fn, scope), scope)
}

/** What ends once, with what went wrong, if anything did. @internal */
interface Ending {
  end(error?: unknown): void
}

/** Runs a function, and ends with it. @internal */
export function whileItLasts<T, E extends Ending>(it: E, fn: (it: E) => T, scope?: Scope): T {
  let result: T
  try {
    result = fn(it)
  } catch (error) {
    it.end(error ?? String(error))
    throw error
  }
  if (isGenerator(result)) {
    followGenerator(result, it, scope)
    return result
  }
  if (!isThenable(result)) {
    it.end()
    return result
  }
  const ended = <V>(value: V): V => {
    it.end()
    return value
  }
  const failed = (error: unknown): never => {
    it.end(error ?? String(error))
    throw error
  }
  if (types.isPromise(result)) return result.then(ended, failed) as T
  // It may begin its work when it is waited for, and its `then` need not give anything.
  const waited = (): Promise<unknown> => new Promise((done, no) => void result.then(done, no))
  return (scope ? storage.run({ scope }, waited) : waited()).then(ended, failed) as T
}

type AnyGenerator = Generator<unknown, unknown, unknown> | AsyncGenerator<unknown, unknown, unknown>

/** A generator, sync or async; nothing else that can merely be iterated, for that has a life of its own. */
function isGenerator(value: unknown): value is AnyGenerator {
  const tag = Object.prototype.toString.call(value)
  return tag === '[object Generator]' || tag === '[object AsyncGenerator]'
}

/**
 * A generator's body runs when it is asked for more, and not before: each time inside the scope, which ends with it. The
 * generator stays the very object that it is.
 */
function followGenerator(generator: AnyGenerator, it: Ending, scope: Scope | undefined): void {
  for (const name of ['next', 'return', 'throw'] as const) {
    const original = generator[name] as (...args: unknown[]) => unknown
    const step = (...args: unknown[]): unknown => {
      let result: unknown
      try {
        result = scope
          ? storage.run({ scope }, () => original.apply(generator, args))
          : original.apply(generator, args)
      } catch (error) {
        it.end(error ?? String(error))
        throw error
      }
      const see = (result: unknown): unknown => {
        if ((result as IteratorResult<unknown>).done) it.end()
        return result
      }
      if (!isThenable(result)) return see(result)
      return result.then(see, (error: unknown) => {
        it.end(error ?? String(error))
        throw error
      })
    }
    Object.defineProperty(generator, name, { value: step, configurable: true, writable: true })
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}

/** An error's type and message; anything can be thrown, also what throws when it is looked at. @internal */
export function described(error: unknown): [string, string] {
  try {
    if (isError(error)) return [String(error.name), String(error.message)]
    if (error === null || error === undefined) return [String(error), String(error)]
    return [typeof error, typeof error === 'string' ? error : toJson(error)]
  } catch {
    return ['Error', '[Unreadable]']
  }
}
