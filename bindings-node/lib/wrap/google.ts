import { askFirst, asking } from '../budget.js'
import { type Fetch, observe } from '../fetch.js'
import { isFunction, type Kind } from './kind.js'

/** What makes the requests of all parts of a client. The public way, `httpOptions.fetch`, changes its time limits. */
interface ApiClient {
  clientOptions?: { httpOptions?: { timeout?: number } }
  apiCall(
    url: string,
    init: RequestInit,
    retry?: unknown,
    timeout?: unknown,
    signal?: unknown,
    fetch?: Fetch,
  ): Promise<Response>
}

/** Who observes an `apiCall`. */
const hooks = new WeakMap<
  object,
  { client: unknown; provider: string | undefined; plain: ApiClient['apiCall'] }
>()

/** Google's client, for AI Studio and for Vertex. @internal */
export const wrapGoogle: Kind = (google, how) => {
  const { apiClient: client } = google as { apiClient?: ApiClient }
  if (!isFunction(client?.apiCall)) return undefined
  return () => {
    if (how.copy) how.fail('all parts of it share what makes the requests, so it cannot be copied')
    const already = hooks.get(client.apiCall)
    if (already?.client === how.client && already.provider === how.provider) return google
    const plain = already?.plain ?? client.apiCall
    const { clientOptions } = client
    const observing = {
      client: how.client,
      provider: how.provider,
      seen: how.seen,
      limit: () => clientOptions?.httpOptions?.timeout,
    }
    // The older ones take no fetch: their call is all that one does, so it is observed as one.
    const whole = observe({ ...observing, inner: (url, init) => plain.call(client, String(url), init ?? {}) })
    const hooked: ApiClient['apiCall'] = async (url, init, retry, timeout, signal, fetch) => {
      // Here, for what its `fetch` throws is thrown away but for the text.
      if (asking.wanted) askFirst(observing, url, init as object)
      return plain.length < TAKES_FETCH
        ? whole(url, init)
        : plain.call(
            client,
            url,
            init,
            retry,
            timeout,
            signal,
            observe({ ...observing, limit: () => timeout ?? observing.limit(), inner: fetch }),
          )
    }
    hooks.set(hooked, { ...how, plain })
    client.apiCall = hooked
    if (client.apiCall !== hooked) how.fail('its apiCall cannot be set')
    return google
  }
}

/** Arguments of the `apiCall` whose last one is a fetch. */
const TAKES_FETCH = 6
