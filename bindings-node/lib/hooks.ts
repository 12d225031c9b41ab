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

interface Work {
  events: [number, Event][]
  notices: [string, string][]
}

/** Runs the hooks of one client on the event loop. @internal */
export class Hooks {
  #native: NativeClient | undefined
  #working = false
  readonly #beforeSend: BeforeSend | undefined
  readonly #onError: OnError | undefined

  constructor(beforeSend: BeforeSend | undefined, onError: OnError | undefined) {
    this.#beforeSend = checked('beforeSend', beforeSend)
    this.#onError = checked('onError', onError)
  }

  get seesEvents(): boolean {
    return this.#beforeSend !== undefined
  }

  get hearsErrors(): boolean {
    return this.#onError !== undefined
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
        this.#tell(work)
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
        await new Promise((resolve) => setImmediate(resolve))
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
      this.#tell(work)
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

  #tell(work: Work): void {
    for (const [code, message] of work.notices) {
      try {
        this.#onError?.(new LlmtrailError(code, message))
      } catch {
        // The application's own; it has nobody to go to.
      }
    }
  }

  /** Runs the hook on an event, and says what it said if that is a promise. */
  #ask(number: number, event: Event): Promise<Event | null | undefined> | undefined {
    try {
      const kept = this.#beforeSend ? this.#beforeSend(event) : event
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
    let why = 'it threw'
    try {
      why = String(error)
    } catch {
      // An error that cannot even be shown.
    }
    this.#native?.hookFail(number, why)
  }
}

function checked<T>(name: string, hook: T | null | undefined): T | undefined {
  if (hook === undefined || hook === null) return undefined
  if (typeof hook !== 'function') throw new ConfigError(`${name}: expected a function, got ${typeof hook}`)
  return hook
}
