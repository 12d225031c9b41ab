import type { Client } from './client.js'
import { coded, isError, LlmtrailError } from './errors.js'
import { type Fetch, observingOf } from './fetch.js'
import { toJson } from './json.js'
import type { NativeReservation } from './native.js'
import { type Observing, trouble } from './observing.js'
import { scopeOfCall } from './scope.js'

/** What a budget limits and how. */
export interface BudgetOptions {
  /** US dollars, as a number or a decimal string. */
  usd: number | string
  /**
   * What shares them: a trace, a session, a distinct id (`user`), this process (the default), or a day in UTC. Calls
   * outside of any session, or for nobody, have no budget per session or user.
   */
  per?: 'trace' | 'session' | 'user' | 'process' | 'day'
  /**
   * `raise` (the default): the call that would start beyond the limit throws `BudgetExceeded` before it is sent. `warn`:
   * it goes on, and one line on stderr says so.
   */
  action?: 'raise' | 'warn'
}

/**
 * A call that would have started beyond a budget; it was not sent. The one error of this package that a call can throw,
 * for a budget asks for it.
 */
export class BudgetExceeded extends LlmtrailError {
  /** Who shares the budget. */
  readonly per: 'trace' | 'session' | 'user' | 'process' | 'day'
  /** Which of them: the trace's, session's or person's id, or the day; undefined for the process. */
  readonly id: string | undefined
  /** The limit in US dollars. */
  readonly limitUsd: number
  /** What the calls that ended cost, in US dollars. */
  readonly spentUsd: number
  /** What the calls under way are taken to cost, in US dollars. */
  readonly underWayUsd: number

  /** @internal */
  constructor(refusal: Refusal) {
    super('budget_exceeded', refusal.message)
    this.per = refusal.per as BudgetExceeded['per']
    this.id = refusal.id
    this.limitUsd = refusal.limitUsd
    this.spentUsd = refusal.spentUsd
    this.underWayUsd = refusal.underWayUsd
  }

  /** The budget's error in an error and its causes, for SDKs that wrap what their `fetch` throws. */
  static in(error: unknown): BudgetExceeded | undefined {
    let at = error
    for (let depth = 0; depth < 8 && isError(at); depth++) {
      if (at instanceof BudgetExceeded) return at
      at = at.cause
    }
    return undefined
  }
}

/** What a budget says to a call. @internal */
export interface Refusal {
  message: string
  per: string
  id?: string
  limitUsd: number
  spentUsd: number
  underWayUsd: number
}

/** A budget that is set. */
export class Budget {
  readonly #remove: () => void

  /** @internal */
  constructor(remove: () => void) {
    this.#remove = remove
  }

  /** Ends the limit. What was spent stays spent. */
  remove(): void {
    this.#remove()
  }

  /** `using budget = client.budget(...)` ends it with its block. */
  [Symbol.dispose](): void {
    this.#remove()
  }
}

/** Sets a budget. @internal */
export function setBudget(client: Client, options: BudgetOptions): Budget {
  const number = coded(() => client.native.budget(toJson(options)))
  asking.wanted = true
  for (const prototype of prototypes) patch(prototype)
  return new Budget(() => client.native.removeBudget(number))
}

/** Whether there is a budget, so that calls ask before they begin. @internal */
export const asking = { wanted: false }

/**
 * Where a request that is about to be sent keeps what it reserved: what is under a symbol is copied with all else that
 * an SDK hands on to its `fetch`.
 */
const RESERVED = Symbol('llmtrail.reserved')

/** What an SDK hands to its `fetch`. @internal */
export interface Init {
  body?: unknown
  [RESERVED]?: NativeReservation
}

/** Asks whether a call may begin, where an SDK passes on what is thrown. @throws {BudgetExceeded} @internal */
export function askFirst(how: Observing, url: string, init: Init): void {
  const { body } = init
  const text = typeof body === 'string' ? body : undefined
  const bytes = body instanceof Uint8Array ? body : undefined
  const reservation = admit(how, url, text, bytes)
  if (reservation) init[RESERVED] = reservation
}

/** What a call reserved; it asks now if it did not before. @throws {BudgetExceeded} @internal */
export function reservationOf(
  how: Observing,
  url: string,
  init: object | null | undefined,
  text: string | undefined,
  bytes: Uint8Array | undefined,
): NativeReservation | undefined {
  return (init as Init | null | undefined)?.[RESERVED] ?? admit(how, url, text, bytes)
}

function admit(
  how: Observing,
  url: string,
  text: string | undefined,
  bytes: Uint8Array | undefined,
): NativeReservation | undefined {
  let refusal: Refusal | undefined
  try {
    const client = how.client()
    if (!client.native.hasBudgets()) return undefined
    const answer = client.native.admit(url, how.provider, scopeOfCall(client), text, bytes)
    if (!answer.refusal) return answer.reservation
    refusal = answer.refusal
  } catch {
    trouble(how)
    return undefined
  }
  throw new BudgetExceeded(refusal)
}

/** What the clients that Stainless generates do before they send, outside of what they retry and wrap. */
interface Building {
  fetch: Fetch
  buildRequest(...args: unknown[]): Built | Promise<Built>
}

interface Built {
  req: Init
  url: string
}

const prototypes = new Set<Building>()
const patched = new WeakSet<object>()

/** Has clients of this class, and the copies that they make of themselves, ask once there is a budget. @internal */
export function watchBuilding(client: object): void {
  let owner = Object.getPrototypeOf(client)
  while (owner && !Object.hasOwn(owner, 'buildRequest')) owner = Object.getPrototypeOf(owner)
  if (typeof owner?.buildRequest !== 'function') return
  prototypes.add(owner)
  if (asking.wanted) patch(owner)
}

function patch(prototype: Building): void {
  if (patched.has(prototype)) return
  patched.add(prototype)
  const original = prototype.buildRequest
  function buildRequest(this: Building, ...args: unknown[]): Built | Promise<Built> {
    const ask = (built: Built): Built => {
      const how = typeof this.fetch === 'function' ? observingOf(this.fetch) : undefined
      if (how && typeof built?.url === 'string' && built.req) askFirst(how, built.url, built.req)
      return built
    }
    const built = original.apply(this, args)
    return built instanceof Promise ? built.then(ask) : ask(built)
  }
  Object.defineProperty(prototype, 'buildRequest', {
    value: buildRequest,
    configurable: true,
    writable: true,
  })
}
