import type { Fetch } from '../fetch.js'
import { another, isFunction, isObject, type Kind, observed } from './kind.js'

/** What Mistral's client, and each of its parts, makes requests with; by default each makes one of its own. */
interface HttpClient {
  fetcher: Fetch
  request(request: Request): Promise<Response>
}

interface Mistral {
  _options: { hooks: object; httpClient?: HttpClient }
}

/** Mistral's client. @internal */
export const wrapMistral: Kind = (mistral, how) => {
  if (!isMistral(mistral)) return undefined
  return () => {
    const own = mistral._options.httpClient
    if (own && !isFunction(own.fetcher)) how.fail('its httpClient has no fetcher')
    const fetch = observed(own?.fetcher, how)
    if (how.copy) {
      const httpClient = own ? Object.create(own, { fetcher: { value: fetch } }) : new PlainHttpClient(fetch)
      const twin = another(mistral, { ...mistral._options, httpClient })
      if ((twin as Mistral)._options?.httpClient !== httpClient) how.fail('it takes no httpClient')
      return twin
    }
    if (own) own.fetcher = fetch
    else {
      mistral._options.httpClient = new PlainHttpClient(fetch)
      forgetParts(mistral)
    }
    if (mistral._options.httpClient?.fetcher !== fetch) how.fail('its httpClient cannot be set')
    return mistral
  }
}

function isMistral(client: object): client is Mistral {
  const { _options: options, _baseURL: base } = client as Partial<Mistral> & { _baseURL?: unknown }
  return isObject(options?.hooks) && base instanceof URL
}

/** The parts that were made already have an HTTP client of their own: they are made anew, as they are asked for. */
function forgetParts(client: object): void {
  for (const [name, part] of Object.entries(client)) {
    if (isObject(part) && isMistral(part)) (client as Record<string, unknown>)[name] = undefined
  }
}

type Hook = (...args: never[]) => unknown

/** As the SDK's own, which is not to be had from here. */
class PlainHttpClient implements HttpClient {
  readonly #hooks: Record<string, Hook[]> = { beforeRequest: [], requestError: [], response: [] }
  fetcher: Fetch

  constructor(fetcher: Fetch) {
    this.fetcher = fetcher
  }

  async request(request: Request): Promise<Response> {
    let sent = request
    for (const hook of this.#of('beforeRequest')) sent = ((await hook(sent as never)) as Request) || sent
    try {
      const response = await this.fetcher(sent)
      for (const hook of this.#of('response')) await hook(response as never, sent as never)
      return response
    } catch (error) {
      for (const hook of this.#of('requestError')) await hook(error as never, sent as never)
      throw error
    }
  }

  addHook(name: string, hook: Hook): this {
    this.#of(name).push(hook)
    return this
  }

  removeHook(name: string, hook: Hook): this {
    const at = this.#of(name).indexOf(hook)
    if (at >= 0) this.#of(name).splice(at, 1)
    return this
  }

  clone(): PlainHttpClient {
    const twin = new PlainHttpClient(this.fetcher)
    for (const [name, hooks] of Object.entries(this.#hooks)) twin.#hooks[name] = [...hooks]
    return twin
  }

  #of(name: string): Hook[] {
    const hooks = this.#hooks[name]
    if (!hooks) throw new Error(`Invalid hook type: ${name}`)
    return hooks
  }
}
