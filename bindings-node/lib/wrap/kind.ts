import type { Client } from '../client.js'
import { type Fetch, observe, observingOf } from '../fetch.js'
import type { Seen } from '../observing.js'

/** How a client is to be observed. @internal */
export interface How {
  client: () => Client
  provider: string | undefined
  copy: boolean
  seen: Seen
  /** Throws, for a client of this kind that cannot be observed. */
  fail(why: string): never
  /** Observes a client that is held by this one. */
  wrap<T>(inner: T): T
}

/** Knows one kind of client: gives what observes it and gives it back, or undefined for all others. @internal */
export type Kind = (client: object, how: How) => (() => object) | undefined

/** A `fetch` observed as asked; the same one if it is already. @internal */
export function observed(fetch: Fetch | undefined, how: How, limit?: () => unknown): Fetch {
  const already = fetch && observingOf(fetch)
  if (fetch && already?.client === how.client && already.provider === how.provider && !how.copy) return fetch
  const { client, provider, seen } = how
  return observe({ client, provider, limit, seen, inner: already ? already.inner : fetch })
}

/** @internal */
export const isFunction = (value: unknown): value is (...args: never[]) => unknown =>
  typeof value === 'function'

/** @internal */
export const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** A client of the same class. @internal */
export function another(client: object, options: object): object {
  return new (client.constructor as new (options: object) => object)(options)
}
