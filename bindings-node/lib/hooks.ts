import { types } from 'node:util'
import { ConfigError, LlmtrailError } from './errors.js'
import { toJson } from './json.js'
import type { NativeClient } from './native.js'

/** An event as `beforeSend` gets it and gives it back. */
export interface Event {
  /** Its name, such as `$ai_generation`. */
  event: string
  /** Who it is about. */
  distinct_id: string
  /** Its id; it stays what it is. */
  readonly uuid: string
  /** When what it tells of began; it stays what it is. */
  readonly timestamp: string
  /** Everything else. */
  properties: Record<string, unknown>
}

/** Sees each event before it is sent: gives it back, changed or not, or `null` to have it dropped and counted. */
export type BeforeSend = (event: Event) => Event | null | undefined | Promise<Event | null | undefined>
/** Is told of trouble with delivery. */
export type OnError = (error: LlmtrailError) => void

/** Is told of every generation and embedding that is over. */
export type OnGeneration = (call: FinishedCall) => void
/** Says what is to stand in the place of a text; `path` is where it stands, such as `$ai_input[0].content`. */
export type Redact = (text: string, path: string) => string

/**
 * A generation or an embedding that is over, as `onGeneration` gets it: numbers, names and ids, and no content. What is
 * not known is null. Times are milliseconds.
 */
export interface FinishedCall {
  /** Which event it is. */
  event: '$ai_generation' | '$ai_embedding'
  /** The id of the event. */
  uuid: string
  /** When the call began: RFC 3339, UTC. */
  timestamp: string
  /** Whom it was for; the trace's id where nobody said. */
  distinctId: string
  traceId: string | null
  sessionId: string | null
  spanId: string | null
  parentId: string | null
  /** The model that answered, else the one that was asked for. */
  model: string | null
  provider: string | null
  /** Units by bucket (`input_text`, `cache_read`, `output_text`, ...), those that were reported. */
  usage: Record<string, number>
  costUsd: number | null
  /** How long the provider was waited for. */
  latency: number | null
  timeToFirstToken: number | null
  stream: boolean
  /** Of a stream. */
  streamStatus: 'complete' | 'abandoned' | 'error' | 'timeout' | null
  stopReason: string | null
  httpStatus: number | null
  isError: boolean
  /** The provider's type or code of the error. */
  errorType: string | null
}

/** The hooks that an application may have. @internal */
export interface HookFunctions {
  beforeSend: BeforeSend | null | undefined
  onError: OnError | null | undefined
  onGeneration: OnGeneration | null | undefined
  redact: Redact | null | undefined
}

interface Work {
  texts: [number, [text: string, path: string][]][]
  events: [number, Event][]
  generations: FinishedCall[]
  notices: [string, string][]
}

/** As it is before tests put timers of their own in its place, which may never run. */
const soon = setImmediate

/** Runs the hooks of one client on the event loop. @internal */
export class Hooks {
  #native: NativeClient | undefined
  #working = false
  readonly #functions: HookFunctions

  constructor(functions: HookFunctions) {
    this.#functions = functions
    for (const name of this.names) {
      const hook: unknown = functions[name]
      if (typeof hook !== 'function')
        throw new ConfigError(`${name}: expected a function, got ${typeof hook}`)
      if (name === 'redact' && types.isAsyncFunction(hook))
        throw new ConfigError('redact: expected a function that is not async: it is asked about every text')
    }
  }

  /** Those that there are. */
  get names(): (keyof HookFunctions)[] {
    const all = Object.keys(this.#functions) as (keyof HookFunctions)[]
    return all.filter((name) => this.#functions[name] !== undefined && this.#functions[name] !== null)
  }

  /** There is work. */
  readonly ring = (): void => {
    void this.#work()
  }

  serve(native: NativeClient): void {
    this.#native = native
  }

  async #work(): Promise<void> {
    if (this.#working) return
    this.#working = true
    try {
      for (let work = this.#take(0); work; work = this.#take(0)) {
        this.#doAtOnce(work)
        for (const [number, event] of work.events) {
          const kept = this.#ask(number, event)
          if (types.isPromise(kept)) {
            try {
              this.#give(number, await kept)
            } catch (error) {
              this.#fail(number, error)
            }
          }
        }
        // A burst of events must not hold up everything else that the loop has to do.
        await new Promise<void>((resolve) => soon(resolve))
      }
    } finally {
      this.#working = false
    }
  }

  /** The end of the process, when no promise is ever kept: until nothing comes for a moment, or until then. */
  workNow(until: number): void {
    const MOMENT = 100
    for (;;) {
      const left = until - performance.now()
      const work = left > 0 ? this.#take(Math.min(left, MOMENT)) : undefined
      if (!work) return
      this.#doAtOnce(work)
      for (const [number, event] of work.events) {
        if (types.isPromise(this.#ask(number, event))) {
          this.#native?.hookFail(number, 'it is async, and the process ends')
        }
      }
    }
  }

  #take(wait: number): Work | undefined {
    const work = this.#native?.hookTake(wait)
    return work ? JSON.parse(work) : undefined
  }

  /** All but the events, about which a promise may be made. */
  #doAtOnce(work: Work): void {
    for (const [code, message] of work.notices)
      tell(this.#functions.onError, new LlmtrailError(code, message))
    for (const [number, texts] of work.texts) this.#redact(number, texts)
    for (const call of work.generations)
      tell(this.#functions.onGeneration, call, () => this.#native?.hookTold(0, 1))
    this.#native?.hookTold(work.generations.length, 0)
  }

  #redact(number: number, texts: Work['texts'][number][1]): void {
    let why: string | undefined
    const made = texts.map(([text, path]) => {
      try {
        const said: unknown = this.#functions.redact?.(text, path)
        if (typeof said === 'string') return said.toWellFormed()
        if (types.isPromise(said)) said.catch(nothing)
        why = `it gave back ${said === null ? 'null' : typeof said}, and not a text`
      } catch (error) {
        why = shown(error)
      }
      return null
    })
    this.#native?.hookRedacted(number, JSON.stringify(made), why)
  }

  /** Runs the hook on an event, and says what it said if that is a promise. */
  #ask(number: number, event: Event): Promise<Event | null | undefined> | undefined {
    try {
      const { beforeSend } = this.#functions
      const kept = beforeSend ? beforeSend(event) : event
      if (types.isPromise(kept)) return kept as Promise<Event | null | undefined>
      this.#give(number, kept as Event | null | undefined)
    } catch (error) {
      this.#fail(number, error)
    }
    return undefined
  }

  #give(number: number, kept: Event | null | undefined): void {
    if (kept === null || kept === undefined) this.#native?.hookDrop(number)
    else this.#native?.hookSend(number, toJson(kept))
  }

  #fail(number: number, error: unknown): void {
    this.#native?.hookFail(number, shown(error))
  }
}

const nothing = (): void => {}

/** Tells a hook of something. What it throws, or rejects with, is the application's own, and has nobody to go to. */
function tell<T>(hook: ((what: T) => void) | null | undefined, what: T, failed: () => void = nothing): void {
  try {
    const said: unknown = hook?.(what)
    if (types.isPromise(said)) said.catch(failed)
  } catch {
    failed()
  }
}

function shown(error: unknown): string {
  try {
    return String(error)
  } catch {
    return 'it threw an error that cannot be shown'
  }
}
