import { AsyncLocalStorage } from 'node:async_hooks'
import type { Client } from './client.js'
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
  /** What went in. */
  input?: unknown
}

/** @internal */
export type ScopeKind = 'session' | 'trace' | 'span' | 'options'

const storage = new AsyncLocalStorage<Scope>()

/** The scope that the running code is in. @internal */
export function currentScope(): Scope | undefined {
  return storage.getStore()
}

/** A session, trace, span or set of options that calls are made in. */
export class Scope {
  /** @internal */
  readonly native: NativeScope
  readonly #client: Client
  #input: unknown
  #output: unknown

  /** @internal */
  constructor(client: Client, kind: ScopeKind, parent: Scope | undefined, options: object) {
    this.#client = client
    this.#input = (options as SpanOptions).input
    this.native = client.native.open(kind, parent?.native, toJson(options))
  }

  /** The name that it was given. */
  get name(): string | undefined {
    return this.native.name ?? undefined
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
    return storage.run(this, fn)
  }

  /** Opens a span inside this scope. It lasts until its `end`. */
  startSpan(name: string, options: SpanOptions = {}): Scope {
    return new Scope(this.#client, 'span', this, { ...options, name })
  }

  /** Ends it, with what went wrong, if anything did: a trace or span sends its event. Only the first call counts. */
  end(error?: unknown): void {
    if (error !== undefined) this.#say(() => this.native.setError(...described(error)))
    this.#client.ended(this.native)
  }
}

/** Runs a function in a scope that ends with it: when its promise is settled, if it gives one. @internal */
export function inScope<T>(scope: Scope, fn: (scope: Scope) => T): T {
  let result: T
  try {
    result = storage.run(scope, fn, scope)
  } catch (error) {
    scope.end(error ?? 'undefined')
    throw error
  }
  if (!isThenable(result)) {
    scope.end()
    return result
  }
  return result.then(
    (value) => {
      scope.end()
      return value
    },
    (error: unknown) => {
      scope.end(error ?? 'undefined')
      throw error
    },
  ) as T
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}

/** An error's type and message; anything can be thrown. */
function described(error: unknown): [string, string] {
  if (error instanceof Error) return [String(error.name), String(error.message)]
  return [typeof error, typeof error === 'string' ? error : toJson(error)]
}
