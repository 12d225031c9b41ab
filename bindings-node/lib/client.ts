import { type Budget, type BudgetOptions, setBudget } from './budget.js'
import { ask, type Cost, type CostQuestion, type Price, setPrice } from './cost.js'
import { type Checkup, examine } from './doctor.js'
import { coded, LlmtrailError } from './errors.js'
import { deliverAtExit, forget } from './exit.js'
import { type Fetch, observe } from './fetch.js'
import { type BeforeSend, Hooks, type OnError, type OnGeneration, type Redact } from './hooks.js'
import { instrumentProcess, uninstrumentProcess } from './instrument.js'
import { toJson } from './json.js'
import * as manual from './manual.js'
import {
  type CallRecord,
  type CaptureOptions,
  type Feedback,
  Generation,
  type SpanRecord,
  type TraceRecord,
  type TraceRef,
} from './manual.js'
import {
  type NativeClient,
  type NativeScope,
  native,
  type Report,
  type Stats,
  type Totals,
} from './native.js'
import { endCalls } from './recorder.js'
import {
  currentScope,
  inScope,
  Scope,
  type ScopeOptions,
  type SpanOptions,
  type TraceOptions,
  whileItLasts,
} from './scope.js'
import { type WrapOptions, wrapClient } from './wrap.js'

/** The options of `init` and `Client`. Code wins over environment, environment over default. Times are milliseconds. */
export interface Options {
  /** The PostHog project key (`POSTHOG_API_KEY`); without one events go to the local store. */
  apiKey?: string
  /** The PostHog server (`POSTHOG_HOST`); default `https://us.i.posthog.com`. */
  host?: string
  /** Default for every event. */
  distinctId?: string
  /** Default for every event. */
  properties?: Record<string, unknown>
  /** Default for every event. */
  groups?: Record<string, unknown>
  /** False turns everything into a no-op (`LLMTRAIL_ENABLED`). */
  enabled?: boolean
  /** Says on stderr what is done (`LLMTRAIL_DEBUG`). */
  debug?: boolean
  /** The share of traces that is kept, 0 to 1 (`LLMTRAIL_SAMPLE_RATE`). */
  sampleRate?: number
  /**
   * Sends errors of traces that are not kept all the same, with the spans and the trace around them; default false
   * (`LLMTRAIL_KEEP_ERRORS`).
   */
  keepErrors?: boolean
  /** Hides content in every event (`LLMTRAIL_PRIVACY`). */
  privacy?: boolean
  /** Keeps media as sent. */
  fullCapture?: boolean
  /** Personal data in content that is replaced by placeholders; true for all kinds (`LLMTRAIL_DETECTORS`). */
  detectors?: boolean | ('email' | 'phone' | 'card' | 'iban' | 'ip')[]
  /** Asks providers for usage in streams where the caller did not say; default true. */
  streamUsage?: boolean
  /** Makes a span of each tool call and its result in a later call of the same trace; default true. */
  toolSpans?: boolean
  /** Sends a batch at this many events; default 100 (`LLMTRAIL_FLUSH_AT`). */
  flushAt?: number
  /** Sends what there is after this time; default 5000 (`LLMTRAIL_FLUSH_INTERVAL`, in seconds). */
  flushInterval?: number
  /** Tries after the first one; default 3. */
  maxRetries?: number
  /** Of one request to the server; default 10000. */
  timeout?: number
  /** Compresses batches; default true. */
  gzip?: boolean
  /** Bytes that everything queued may take; default 64 MiB. */
  maxMemory?: number
  /** When events are also written to disk on their way; default `overflow` (`LLMTRAIL_SPOOL`). */
  spool?: 'off' | 'overflow' | 'always'
  /** Where the local store and the spool live (`LLMTRAIL_DIR`). */
  dir?: string
  /** A price file (`LLMTRAIL_PRICES`). */
  prices?: string
  /** How long the local store keeps events: `'12h'`, `'30d'` (`LLMTRAIL_STORE_MAX_AGE`). */
  storeMaxAge?: string
  /** How large the local store gets before its oldest events go: `'500MB'`, `'2GB'` (`LLMTRAIL_STORE_MAX_SIZE`). */
  storeMaxSize?: string
  /** Refreshes prices in the background; default false. */
  pricesUpdate?: boolean
  /** Where they are refreshed from (`LLMTRAIL_PRICES_URL`). */
  pricesUrl?: string
  /** Provider of hosts that are not known: `{ 'llm.corp.example:8080': 'openai' }`. */
  hosts?: Record<string, string>
  /** What of an event's content the local store gets, where that is different: `{ privacy: false }`. */
  store?: Policy
  /** Events go to the local store too, when they go to PostHog; default false (`LLMTRAIL_LOCAL`). */
  local?: boolean
  /**
   * Sees each event before it is sent: gives it back, changed or not, or `null` to have it dropped and counted under
   * `hook`. An event for which it throws is not sent either. It runs on the event loop, after the call that the event
   * tells of, and may be async, though not after `process.exit`.
   */
  beforeSend?: BeforeSend
  /** Is told of trouble with delivery, as an error whose `code` says which. */
  onError?: OnError
  /**
   * Is told of every generation and embedding that is over, once it is decoded and priced. It runs on the event loop, never
   * in the call; what it throws goes nowhere, and is counted in `stats().notes` under `on_generation_failed`.
   */
  onGeneration?: OnGeneration
  /**
   * Says what is to stand in the place of each text of an event: messages, arguments and results of tools, errors, names,
   * parameters and your own properties, but for ids and names of members. It is asked before `beforeSend`, on the event
   * loop, after the call. Where it throws, or gives back no text, `[withheld]` stands there.
   */
  redact?: Redact
}

/** What of an event's content a sink gets, where that is different from what everybody gets. */
export type Policy = Pick<Options, 'privacy' | 'fullCapture' | 'detectors'> & {
  /** Whether `redact` is asked; default true. */
  redact?: boolean
}

/** How `doctor` is to look. */
export interface DoctorOptions {
  /** Prints what was found; default true. */
  show?: boolean
  /** How long the server may take to answer; default 5000. */
  timeoutMs?: number
}

/** Whose totals are asked for: at most one of them. */
export interface TotalsOf {
  /** Those of a person. */
  distinctId?: string
  /** Those of a session: of all the scopes that had its id. */
  sessionId?: string
  /** Those of a trace. */
  traceId?: string
}

/** What can be given to `metric` beside name and value. */
export type MetricOptions = Pick<Feedback, 'distinctId' | 'properties'>

/** Addresses that are remembered at most; applications call a handful. */
const MOST_ADDRESSES = 512

/**
 * Captures calls and delivers their events. Nothing starts until the first capture, and nothing of it keeps the process
 * alive. No method throws in the course of a program but for misuse: a bad option, an event without a name.
 */
export class Client {
  /** @internal */
  readonly native: NativeClient
  /** By what the core knows it. @internal */
  readonly number: number
  /** Counts what was handed over, so that the end of the process knows whether anything came since. @internal */
  captures = 0
  /** @internal */
  readonly hooks: Hooks | undefined
  readonly #addresses = new Map<string, number>()
  readonly #self = () => this
  #fetch: Fetch | undefined

  /** @throws {ConfigError} for an option that cannot be used; the message names it and says what is allowed. */
  constructor(options: Options = {}) {
    // What is no object at all is for the core to complain of.
    const { beforeSend, onError, onGeneration, redact, ...others } = Object(options) as Options
    const json = toJson(Object(options) === options ? others : options)
    const functions = { beforeSend, onError, onGeneration, redact }
    const some = Object.values(functions).some((hook) => hook !== undefined && hook !== null)
    if (some) this.hooks = new Hooks(functions)
    const { hooks } = this
    this.native = coded(() => new (native().NativeClient)(json, hooks?.names ?? [], hooks?.ring))
    this.number = this.native.number
    this.hooks?.serve(this.native)
    deliverAtExit(this)
  }

  /**
   * Observes an SDK's client and gives back the same object.
   * @throws {TypeError} for what is not supported; the message lists what is.
   */
  wrap<T>(client: T, options: WrapOptions = {}): T {
    return wrapClient(client, options, this.#self)
  }

  /**
   * Has the calls of the whole process recorded, by this client: see the function of the same name. The process is
   * observed for one client at a time, the last that asked.
   */
  instrument(): void {
    instrumentProcess(this.#self)
  }

  /** Ends what `instrument` began. Wrapped clients stay observed. */
  uninstrument(): void {
    uninstrumentProcess()
  }

  /** The global `fetch`, observed: to hand to anything that takes one. Calls to anything but a provider pass untouched. */
  get fetch(): Fetch {
    this.#fetch ??= observe({ client: this.#self, provider: undefined, inner: undefined })
    return this.#fetch
  }

  /**
   * Runs a function as a trace: everything done for one request. Errors are recorded and go on unchanged. What it promises
   * comes by a promise of its own: what an SDK's has beside `then`, such as `withResponse`, is for inside of the function.
   */
  trace<T>(name: string, fn: (trace: Scope) => T): T
  trace<T>(name: string, options: TraceOptions, fn: (trace: Scope) => T): T
  trace<T>(name: string, ...rest: [Body<T>] | [TraceOptions, Body<T>]): T {
    const [options, fn] = optionsAndBody(rest)
    return inScope(this.startTrace(name, options), fn)
  }

  /** Runs a function as a span: one operation inside a trace. Errors are recorded and go on unchanged. */
  span<T>(name: string, fn: (span: Scope) => T): T
  span<T>(name: string, options: SpanOptions, fn: (span: Scope) => T): T
  span<T>(name: string, ...rest: [Body<T>] | [SpanOptions, Body<T>]): T {
    const [options, fn] = optionsAndBody(rest)
    return inScope(this.startSpan(name, options), fn)
  }

  /** Runs a function in a session, which groups traces: a conversation. Without an id it gets a fresh one. */
  session<T>(fn: (session: Scope) => T): T
  session<T>(id: string | undefined, fn: (session: Scope) => T): T
  session<T>(id: string | undefined, options: ScopeOptions, fn: (session: Scope) => T): T
  session<T>(
    ...args: [Body<T>] | [string | undefined, Body<T>] | [string | undefined, ScopeOptions, Body<T>]
  ): T {
    const [id, ...rest] = args.length === 1 ? [undefined, args[0]] : args
    const [options, fn] = optionsAndBody(rest as [ScopeOptions, Body<T>])
    return inScope(new Scope(this, 'session', currentScope(), { sessionId: id, ...options }), fn)
  }

  /** Runs a function with options for every call inside. Nested ones merge, the inner one wins. */
  options<T>(options: ScopeOptions, fn: (scope: Scope) => T): T {
    const [, body] = optionsAndBody([options, fn])
    return inScope(new Scope(this, 'options', currentScope(), options), body)
  }

  /**
   * The headers that carry the current scope to another process: `traceparent` and `baggage`. For requests to services
   * of your own: they name the person, session and trace. Outside of any scope there are none.
   */
  headers(): Record<string, string> {
    return JSON.parse(this.native.headers(currentScope()?.native)) as Record<string, string>
  }

  /**
   * Runs a function in the scope that the headers of a request from another process speak of. A trace that begins inside
   * is a span of the trace over there. Only for requests from whom you trust, for they say who the person is.
   */
  continueFrom<T>(headers: IncomingHeaders, fn: (scope: Scope) => T): T {
    const [, body] = optionsAndBody([{}, fn])
    return inScope(new Scope(this, 'options', currentScope(), { headers: known(headers) }), body)
  }

  /** Opens a trace that lasts until its `end`. What is to be inside of it goes through its `run`. */
  startTrace(name: string, options: TraceOptions = {}): Scope {
    return new Scope(this, 'trace', currentScope(), { ...options, name })
  }

  /** Opens a span in the current scope that lasts until its `end`. What is to be inside of it goes through its `run`. */
  startSpan(name: string, options: SpanOptions = {}): Scope {
    return new Scope(this, 'span', currentScope(), { ...options, name })
  }

  /**
   * Sends any event as it is. Returns its id. Inside a scope it gets the scope's distinct id, groups, properties, trace
   * and session where it has none of its own.
   * @throws {LlmtrailError} with the code `usage` for an event without a name, a time or an id that is none.
   */
  capture(event: string, options: CaptureOptions = {}): string {
    this.captures++
    return manual.capture(this, event, options)
  }

  /**
   * Records a generation that no transport saw: priced, redacted and placed like an observed one. Returns its span id,
   * by which other events can name it as their `parentId`.
   * @throws {LlmtrailError} with the code `usage` for a name that is none of the record's.
   */
  captureGeneration(record: CallRecord): string {
    this.captures++
    return manual.captureCall(this, false, record)
  }

  /** Records an embedding that no transport saw; see `captureGeneration`. Vectors are not recorded. */
  captureEmbedding(record: CallRecord): string {
    this.captures++
    return manual.captureCall(this, true, record)
  }

  /** Records a span that is over. Returns its id. */
  captureSpan(name: string, record: SpanRecord = {}): string {
    this.captures++
    return manual.captureStep(this, 'span', name, record)
  }

  /** Records a trace that is over, to whose `traceId` calls and spans may belong. Returns that id. */
  captureTrace(name: string, record: TraceRecord = {}): string {
    this.captures++
    return manual.captureStep(this, 'trace', name, record)
  }

  /**
   * What somebody thinks of a trace: the score becomes a metric of the name `score`, the comment a feedback text.
   * @throws {LlmtrailError} with the code `usage` when there is neither, or no trace.
   */
  feedback(trace: TraceRef, said: Feedback): void {
    this.captures++
    manual.feedback(this, trace, said)
  }

  /**
   * A measurement of a trace, such as an evaluation's grade.
   * @throws {LlmtrailError} with the code `usage` when it has no name, or there is no trace.
   */
  metric(trace: TraceRef, name: string, value: unknown, options: MetricOptions = {}): void {
    this.captures++
    manual.metric(this, trace, name, value, options)
  }

  /** Runs a function as a generation of your own: its times are the function's, an error is recorded and goes on. */
  generation<T>(record: CallRecord, fn: (generation: Generation) => T): T {
    return whileItLasts(this.startGeneration(record), fn)
  }

  /** The same for an embedding. */
  embedding<T>(record: CallRecord, fn: (generation: Generation) => T): T {
    return whileItLasts(new Generation(this, true, record), fn)
  }

  /** A generation of your own that lasts until its `end`. It belongs to the scope that is current now. */
  startGeneration(record: CallRecord = {}): Generation {
    return new Generation(this, false, record)
  }

  /** Sends what there is and waits for it, at most `timeoutMs`. The event loop goes on meanwhile. */
  flush(timeoutMs = 10_000): Promise<Report> {
    return this.native.flush(timeoutMs)
  }

  /**
   * Flushes, at most `timeoutMs`, and ends delivery. Later captures are refused and counted. A call under way, such as a
   * stream that is not read to its end, is recorded as it is.
   */
  async shutdown(timeoutMs = 10_000): Promise<Report> {
    endCalls(this)
    const report = await this.native.shutdown(timeoutMs)
    forget(this)
    return report
  }

  /**
   * What a call costs, exactly, and how that is known. Nothing is captured or sent.
   * @throws {LlmtrailError} for a value that is not what it should be; the message names it.
   * @throws {ConfigError} for `prices` that cannot be used.
   */
  cost(question: CostQuestion): Cost {
    return ask(this.native, question)
  }

  /**
   * Sets a price of your own, which counts before the price file's and the catalogue's.
   * @throws {ConfigError} for a value that is not what it should be, or when there is no price at all.
   */
  setPrice(price: Price): void {
    setPrice(this.native, price)
  }

  /**
   * Limits what calls may cost from now on, for clients that are observed. Several budgets count side by side. What a
   * budget guarantees, and which SDKs pass its error on as it is, is in the documentation (docs/budgets.md).
   * @throws {ConfigError} for a value that is not what it should be.
   */
  budget(options: BudgetOptions): Budget {
    return setBudget(this, options)
  }

  /**
   * What calls used and cost in this process so far: those for a person, or of a session or trace, by its id; without an
   * id those of the whole process. Waits (at most `timeoutMs`) until calls that ended are decoded. The latest 4,096 of
   * each kind are remembered.
   * @throws {LlmtrailError} with the code `usage` for more than one id.
   */
  totals(of: TotalsOf = {}, timeoutMs = 2000): Promise<Totals> {
    const ids = [
      ['user', of.distinctId],
      ['session', of.sessionId],
      ['trace', of.traceId],
    ].filter((id): id is [string, string] => id[1] !== undefined)
    if (ids.length > 1)
      throw new LlmtrailError('usage', 'totals: give one id, of a person, a session or a trace')
    const [per, id] = ids[0] ?? ['process', '']
    return this.native.totalsOf(per, String(id), timeoutMs)
  }

  /** How things stand. */
  stats(): Stats {
    return this.native.stats()
  }

  /**
   * Looks at everything that decides whether calls become events: the SDKs that are installed, what is observed, where
   * events go, whether the server takes the key (it is asked, for at most `timeoutMs`), what was dropped and why. Nothing
   * is captured or sent as an event. Prints it to standard output unless `show` is false.
   */
  doctor({ show = true, timeoutMs = 5000 }: DoctorOptions = {}): Promise<Checkup> {
    return examine(this.native, show, timeoutMs)
  }

  /**
   * Whether a request to this address is observed, and how: see `NativeClient`. `certain`: only where the address alone
   * shows that it is a call to a model.
   * @internal
   */
  recognises(method: string, url: string, provider: string | undefined, certain = false): number {
    const query = url.indexOf('?')
    const key = `${method} ${certain ? '!' : (provider ?? '')} ${query < 0 ? url : url.slice(0, query)}`
    let known = this.#addresses.get(key)
    if (known === undefined) {
      known = this.native.recognises(method, url, provider, certain)
      if (this.#addresses.size >= MOST_ADDRESSES) this.#addresses.clear()
      this.#addresses.set(key, known)
    }
    if (known > 0) this.captures++
    return known
  }

  /** A scope ended. @internal */
  ended(scope: NativeScope): void {
    this.captures++
    this.native.close(scope)
  }

  /** Counts something of ours that went wrong while a call was observed. @internal */
  readonly note = (): void => {
    this.native.note()
  }
}

/** Headers of a request: a `Headers`, those of `node:http`, or any object or list of names and values. */
export type IncomingHeaders =
  | Iterable<readonly [string, string]>
  | Record<string, string | readonly string[] | undefined>

/** Those of the headers that say where a trace comes from, as pairs. */
function known(headers: IncomingHeaders): [string, string][] {
  const entries =
    Symbol.iterator in headers
      ? [...(headers as Iterable<readonly [string, string]>)]
      : Object.entries(headers)
  const wanted = entries.filter(([name]) => /^(traceparent|baggage)$/i.test(name))
  return wanted.map(([name, value]) => [name, Array.isArray(value) ? value.join(',') : String(value)])
}

type Body<T> = (scope: Scope) => T

function optionsAndBody<O extends object, T>(rest: [Body<T>] | [O, Body<T>]): [O, Body<T>] {
  const fn = rest.at(-1)
  if (typeof fn !== 'function') throw new TypeError('expected a function to run, as the last argument')
  return [rest.length > 1 ? (rest[0] as O) : ({} as O), fn as Body<T>]
}
