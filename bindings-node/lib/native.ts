/**
 * The compiled core. It is one file in the package, made for one platform; nothing is downloaded or built here.
 */

import type { Refusal } from './budget.js'
import { isError } from './errors.js'

/** What was sent, what is pending and what was dropped. Counts are of events since the client began. */
export interface Report {
  /** Everything that was handed over. */
  captured: number
  /** Accepted by the server or the local store. */
  delivered: number
  /** Still on the way. After a shutdown: in the spool, for the next process. */
  pending: number
  /** Lost, by named reason. */
  dropped: Record<string, number>
}

/** How things stand. */
export interface Stats extends Report {
  /** Bytes queued in memory. */
  queuedBytes: number
  /** Events in this process's part of the spool; they are pending. */
  spooled: number
  /** Bytes of it. */
  spooledBytes: number
  /** Events of `captured` that were found in the spool of processes that ended. */
  recovered: number
  /** Where events go: the server's host or the store's path; the first, if there are several. */
  sink: string
  /** How each sink does; empty until the first event. */
  sinks: SinkStats[]
  /** The last trouble, in a sentence. */
  lastError?: string
  /** When the first sink last took something, in milliseconds since 1970. */
  lastSuccess?: number
  /** Notes on what was observed, by named reason. */
  notes: Record<string, number>
}

/** How one sink does. */
export interface SinkStats {
  /** The server's host, the store's path, or its name. */
  name: string
  /** Events that it took. */
  delivered: number
  /** Events on the way to it. */
  pending: number
  /** Events that it did not get, by named reason. */
  dropped: Record<string, number>
  /** Its last trouble, in a sentence. */
  lastError?: string
  /** When it last took something, in milliseconds since 1970. */
  lastSuccess?: number
}

/** What the calls in a scope used and cost. */
export interface Totals {
  /** Number of generations and embeddings. */
  calls: number
  /** Those whose cost is not known. */
  unpriced: number
  /** The sum of the known costs in US dollars; absent when there were calls and none of their costs is known. */
  costUsd?: number
  /** Units by bucket (`input_text`, `cache_read`, `output_text`, ...), those that were reported. */
  usage: Record<string, number>
}

/** @internal */
export type EndOfCall = 'complete' | 'abandoned' | 'error' | 'timeout'

/** @internal */
export interface NativeScope {
  readonly name: string | null
  readonly traceId: string | null
  readonly spanId: string | null
  readonly sessionId: string | null
  readonly distinctId: string | null
  setName(name: string): void
  setType(kind: string): void
  setInput(json: string): void
  setOutput(json: string): void
  setError(kind: string, message: string): void
  setProperties(json: string): void
}

/** @internal */
export interface NativeTimer {
  readonly id: string
  firstToken(): void
  end(record: Uint8Array, length: number): void
}

/** Pieces that were handed over before the end of their call. @internal */
export interface NativePieces {
  add(bytes: Uint8Array, marks: Float64Array): void
}

/** A call under way, which counts for its budgets. @internal */
export interface NativeReservation {
  release(): void
}

/** @internal */
export interface NativeFilter {
  push(piece: Uint8Array): number
  instead(): Uint8Array
  rest(): Uint8Array | null
}

/** @internal */
export interface NativeClient {
  /** By what the functions that take no client know it. */
  readonly number: number
  /** Bytes that everything queued may take. */
  readonly maxMemory: number
  /** 0: not observed; 1: observed; 2: and usage may have to be asked for in its streams. */
  recognises(method: string, url: string, provider: string | undefined, certain: boolean): number
  budget(options: string): number
  removeBudget(number: number): void
  hasBudgets(): boolean
  admit(
    url: string,
    provider: string | undefined,
    scope: NativeScope | undefined,
    text: string | undefined,
    bytes: Uint8Array | undefined,
  ): { reservation?: NativeReservation; refusal?: Refusal }
  totalsOf(per: string, id: string, timeout: number): Promise<Totals>
  open(kind: string, parent: NativeScope | undefined, options: string): NativeScope
  close(scope: NativeScope): void
  capture(scope: NativeScope | undefined, event: string, options: Uint8Array, length: number): string
  captureStep(scope: NativeScope | undefined, kind: string, record: Uint8Array, length: number): string
  feedback(
    scope: NativeScope | undefined,
    trace: NativeScope | undefined,
    id: string | undefined,
    options: Uint8Array,
    length: number,
  ): void
  metric(
    scope: NativeScope | undefined,
    trace: NativeScope | undefined,
    id: string | undefined,
    name: string,
    options: Uint8Array,
    length: number,
  ): void
  headers(scope: NativeScope | undefined): string
  timer(scope: NativeScope | undefined, embedding: boolean): NativeTimer
  totals(scope: NativeScope, timeout: number): Promise<Totals>
  flush(timeout: number): Promise<Report>
  shutdown(timeout: number): Promise<Report>
  shutdownNow(timeout: number): Report
  stats(): Stats
  doctor(host: string, timeout: number): Promise<{ text: string; json: string }>
  note(): void
  hookTake(wait: number): string | null
  hookSend(event: number, json: string): void
  hookDrop(event: number): void
  hookFail(event: number, why: string): void
  hookRedacted(event: number, texts: string, why?: string): void
  hookTold(count: number, failed: number): void
}

/** @internal */
export interface Native {
  NativeClient: new (options: string, hooks: string[], ring?: () => void) => NativeClient
  NativePieces: new () => NativePieces
  NativeFilter: new (status: number, headers: string) => NativeFilter
  filters(status: number, headers: string): boolean
  headerNames(): { request: string[]; response: string[]; seals: string[] }
  insertion(
    client: number,
    method: string,
    url: string,
    provider: string | undefined,
    text: string | undefined,
    bytes: Uint8Array | undefined,
  ): { text: string; beforeLast: number } | null
  observe(
    client: number,
    method: string,
    url: string,
    provider: string | undefined,
    scope: NativeScope | undefined,
    startedAt: number,
    requestHeaders: string,
    text: string | undefined,
    bytes: Uint8Array | undefined,
    askedUsage: boolean,
    end: EndOfCall,
    error: string | undefined,
    at: number,
    paused: number,
    status: number,
    headers: string,
    headersAt: number,
    earlier: NativePieces | undefined,
    pieces: Uint8Array | undefined,
    marks: Float64Array | undefined,
    decoded: boolean,
    reservation: NativeReservation | undefined,
  ): void
  captureCall(
    client: number,
    scope: NativeScope | undefined,
    embedding: boolean,
    record: Uint8Array,
    length: number,
  ): string
  runCli(args: string[], host: string | undefined): number
  knownSdks(): string[]
  cost(client: NativeClient, question: string): string
  setPrice(client: NativeClient, price: string): void
}

let loaded: Native | undefined

/** The core, loaded when it is first needed: whoever only imports the package does not pay for it. @internal */
export function native(): Native {
  loaded ??= load()
  return loaded
}

function load(): Native {
  const { platform, arch } = process
  const names = [`${platform}-${arch}`]
  // On Linux the file is for one C library; which one is at hand is found out by trying, for asking is slow.
  if (platform === 'linux') names.push(`${platform}-${arch}-musl`)
  const troubles: string[] = []
  for (const name of names) {
    try {
      return require(`../prebuilt/llmtrail.${name}.node`)
    } catch (error) {
      troubles.push(isError(error) ? (error.message.split('\n')[0] ?? '') : String(error))
    }
  }
  const why = `llmtrail has no library that works on ${platform} ${arch}: ${troubles.join('; ')}`
  throw new Error(`${why}. If this program was bundled, leave the package out of the bundle (docs/node.md)`)
}
