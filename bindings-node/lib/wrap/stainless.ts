import { watchBuilding } from '../budget.js'
import type { Fetch } from '../fetch.js'
import { another, isFunction, isObject, type Kind, observed } from './kind.js'

/** The clients that Stainless generates keep what they call in `fetch`. */
interface Stainless {
  fetch: Fetch
  baseURL: string
  timeout?: unknown
  /** Absent in the older ones. */
  withOptions?(options: { fetch: Fetch }): object
  _options?: { fetch?: Fetch }
}

/** OpenAI's, Anthropic's and Groq's clients. @internal */
export const wrapStainless: Kind = (client, how) => {
  if (!isStainless(client)) return undefined
  return () => {
    const fetch = observed(client.fetch, how, () => client.timeout)
    const hooked = how.copy ? twin(client, fetch) : client
    if (!how.copy) {
      client.fetch = fetch
      // From these the older ones make their copies.
      if (isObject(client._options)) client._options.fetch = fetch
    }
    if ((hooked as Stainless | undefined)?.fetch !== fetch) how.fail('it does not take another fetch')
    watchBuilding(hooked as object)
    return hooked as object
  }
}

function isStainless(client: object): client is Stainless {
  const { fetch, baseURL } = client as Partial<Stainless>
  return isFunction(fetch) && typeof baseURL === 'string'
}

function twin(client: Stainless, fetch: Fetch): object | undefined {
  if (isFunction(client.withOptions)) return client.withOptions({ fetch })
  return isObject(client._options) ? another(client, { ...client._options, fetch }) : undefined
}
