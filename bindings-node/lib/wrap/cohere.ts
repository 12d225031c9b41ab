import type { Fetch } from '../fetch.js'
import { another, isFunction, isObject, type Kind, observed } from './kind.js'

/** The options of a client or of one of its parts: each has its own copy, and `fetch` is read from it at each call. */
interface Options {
  fetch?: Fetch
  authProvider: object
}

/** Cohere's clients. @internal */
export const wrapCohere: Kind = (cohere, how) => {
  const options = [...optionsOf(cohere)]
  if (options.length === 0) return undefined
  return () => {
    const [own] = options
    const fetch = observed(own?.fetch, how)
    if (how.copy) {
      const twin = another(cohere, { ...own, fetch })
      if ([...optionsOf(twin)].some((options) => options.fetch !== fetch)) how.fail('it takes no fetch')
      return twin
    }
    for (const part of options) {
      part.fetch = fetch
      if (part.fetch !== fetch) how.fail('its options cannot be set')
    }
    return cohere
  }
}

/** The options of a client and of all its parts that are there; the others get theirs from these. */
function* optionsOf(client: object, depth = 0): Generator<Options> {
  if (depth > MOST_DEPTH) return
  const { _options: options } = client as { _options?: unknown }
  if (isOptions(options)) yield options
  else if (depth > 0 || !isFunction((client as { chatStream?: unknown }).chatStream)) return
  for (const part of Object.values(client)) {
    if (isObject(part) && part !== options) yield* optionsOf(part, depth + 1)
  }
}

const MOST_DEPTH = 3

/** As the clients since version 8 make them: only those take a fetch. */
function isOptions(options: unknown): options is Options {
  const { authProvider: auth } = (options ?? {}) as { authProvider?: { getAuthRequest?: unknown } }
  return isFunction(auth?.getAuthRequest)
}
