/**
 * LLM analytics from the transport: wrap the client that you use, and each of its calls becomes a priced event.
 *
 * The functions here work on the default client: the one that `init` made, else one that is configured by the
 * environment alone.
 */

import { Client, type DoctorOptions, type Options } from './client.js'
import type { Cost, CostQuestion, Price } from './cost.js'
import type { Checkup } from './doctor.js'
import { type Fetch, observe } from './fetch.js'
import { instrumentProcess, uninstrumentProcess } from './instrument.js'
import type { Report, Stats } from './native.js'
import { type WrapOptions, wrapClient } from './wrap.js'

export { Budget, BudgetExceeded, type BudgetOptions } from './budget.js'
export {
  Client,
  type DoctorOptions,
  type IncomingHeaders,
  type MetricOptions,
  type Options,
  type Policy,
  type TotalsOf,
} from './client.js'
export type { Cost, CostLine, CostQuestion, Money, Price, Rates } from './cost.js'
export type {
  Checkup,
  DeliveryState,
  InstalledSdk,
  Leftovers,
  ObservedCalls,
  Place,
  SpoolState,
} from './doctor.js'
export { ConfigError, LlmtrailError } from './errors.js'
export type { Fetch } from './fetch.js'
export type { BeforeSend, Event, FinishedCall, OnError, OnGeneration, Redact } from './hooks.js'
export {
  type CallRecord,
  type CaptureOptions,
  type Feedback,
  Generation,
  type SpanRecord,
  type TraceRecord,
  type TraceRef,
  type Where,
} from './manual.js'
export type { Report, SinkStats, Stats, Totals } from './native.js'
export { carry, Scope, type ScopeOptions, type SpanOptions, type TraceOptions } from './scope.js'
export type { WrapOptions } from './wrap.js'

let current: Client | undefined
const client = (): Client => {
  current ??= new Client()
  return current
}

/**
 * Configures the default client. Optional: environment variables are enough. Clients that were wrapped before report to
 * the new one from now on.
 * @throws {ConfigError} for an option that cannot be used; the message names it and says what is allowed.
 */
export function init(options: Options = {}): Client {
  current = new Client(options)
  return current
}

/**
 * Observes an SDK's client and gives back the same object (with `copy`, an observed twin).
 * @throws {TypeError} for what is not supported; the message lists what is.
 */
export function wrap<T>(sdk: T, options: WrapOptions = {}): T {
  return wrapClient(sdk, options, client)
}

/**
 * Has the calls of the whole process recorded, whoever makes them: through the global `fetch` and undici, `node:http`,
 * `node:https` and `node:http2`, and by clients that were made before as well. Only calls to hosts and paths that are
 * known to be of models are looked at. `node --import llmtrail/auto` does it with no code.
 *
 * Usage is asked for in streams where the call goes through `fetch`. A call that a wrapped client makes is recorded once.
 */
export function instrument(): void {
  instrumentProcess(client)
}

/** Ends what `instrument` began. Wrapped clients stay observed. */
export function uninstrument(): void {
  uninstrumentProcess()
}

/** The global `fetch`, observed: to hand to anything that takes one. Calls to anything but a provider pass untouched. */
export const fetch: Fetch = observe({ client, provider: undefined, inner: undefined })

type Method =
  | 'trace'
  | 'span'
  | 'session'
  | 'options'
  | 'startTrace'
  | 'startSpan'
  | 'capture'
  | 'captureGeneration'
  | 'captureEmbedding'
  | 'captureSpan'
  | 'captureTrace'
  | 'feedback'
  | 'metric'
  | 'generation'
  | 'embedding'
  | 'startGeneration'
  | 'budget'
  | 'totals'
  | 'headers'
  | 'continueFrom'
type Methods = Record<string, (...args: unknown[]) => unknown>

function onDefault<M extends Method>(name: M): Client[M] {
  return ((...args: unknown[]) => (client() as unknown as Methods)[name]?.(...args)) as Client[M]
}

/** Runs a function as a trace: everything done for one request. Errors are recorded and go on unchanged. */
export const trace: Client['trace'] = onDefault('trace')

/** Runs a function as a span: one operation inside a trace. Errors are recorded and go on unchanged. */
export const span: Client['span'] = onDefault('span')

/** Runs a function in a session, which groups traces: a conversation. Without an id it gets a fresh one. */
export const session: Client['session'] = onDefault('session')

/** Runs a function with options for every call inside. Nested ones merge, the inner one wins. */
export const options: Client['options'] = onDefault('options')

/** Opens a trace that lasts until its `end`. What is to be inside of it goes through its `run`. */
export const startTrace: Client['startTrace'] = onDefault('startTrace')

/** Opens a span in the current scope that lasts until its `end`. What is to be inside of it goes through its `run`. */
export const startSpan: Client['startSpan'] = onDefault('startSpan')

/** Sends any event as it is. Returns its id. */
export const capture: Client['capture'] = onDefault('capture')

/**
 * What a call costs, exactly, and how that is known. Nothing is captured or sent.
 * @throws {LlmtrailError} for a value that is not what it should be; the message names it.
 */
export function cost(question: CostQuestion): Cost {
  return client().cost(question)
}

/**
 * Sets a price of your own, which counts before the price file's and the catalogue's.
 * @throws {ConfigError} for a value that is not what it should be, or when there is no price at all.
 */
export function setPrice(price: Price): void {
  client().setPrice(price)
}

/** Records a generation that no transport saw. Returns its span id. */
export const captureGeneration: Client['captureGeneration'] = onDefault('captureGeneration')

/** Records an embedding that no transport saw. Returns its span id. */
export const captureEmbedding: Client['captureEmbedding'] = onDefault('captureEmbedding')

/** Records a span that is over. Returns its id. */
export const captureSpan: Client['captureSpan'] = onDefault('captureSpan')

/** Records a trace that is over. Returns its id. */
export const captureTrace: Client['captureTrace'] = onDefault('captureTrace')

/** What somebody thinks of a trace: a score, a comment, or both. */
export const feedback: Client['feedback'] = onDefault('feedback')

/** A measurement of a trace. */
export const metric: Client['metric'] = onDefault('metric')

/** Runs a function as a generation of your own. */
export const generation: Client['generation'] = onDefault('generation')

/** Runs a function as an embedding of your own. */
export const embedding: Client['embedding'] = onDefault('embedding')

/** A generation of your own that lasts until its `end`. */
export const startGeneration: Client['startGeneration'] = onDefault('startGeneration')

/**
 * Limits what calls may cost from now on: the one that would start beyond the limit throws `BudgetExceeded`.
 * @throws {ConfigError} for a value that is not what it should be.
 */
export const budget: Client['budget'] = onDefault('budget')

/** What calls used and cost in this process so far, for a person, session or trace, or all of them. */
export const totals: Client['totals'] = onDefault('totals')

/** The headers that carry the current scope to another process. */
export const headers: Client['headers'] = onDefault('headers')

/** Runs a function in the scope that the headers of a request from another process speak of. */
export const continueFrom: Client['continueFrom'] = onDefault('continueFrom')

/** Sends what there is and waits for it, at most `timeoutMs`. The event loop goes on meanwhile. */
export function flush(timeoutMs?: number): Promise<Report> {
  return client().flush(timeoutMs)
}

/** Flushes, at most `timeoutMs`, and ends delivery. Later captures are refused and counted. */
export function shutdown(timeoutMs?: number): Promise<Report> {
  return client().shutdown(timeoutMs)
}

/** How things stand. */
export function stats(): Stats {
  return client().stats()
}

/** Looks at everything that decides whether calls become events, prints it and gives it: see `Client`. */
export function doctor(options: DoctorOptions = {}): Promise<Checkup> {
  return client().doctor(options)
}
