import type { Fetch } from '../fetch.js'
import { another, isFunction, type Kind, observed } from './kind.js'

interface Ollama {
  fetch: Fetch
  config: { host: string }
}

/** Ollama's client. @internal */
export const wrapOllama: Kind = (client, how) => {
  if (!isOllama(client)) return undefined
  return () => {
    const fetch = observed(client.fetch, how)
    const hooked = how.copy ? another(client, { ...client.config, fetch }) : client
    if (!how.copy) client.fetch = fetch
    if ((hooked as Ollama).fetch !== fetch) how.fail('it does not take another fetch')
    return hooked
  }
}

function isOllama(client: object): client is Ollama {
  const { fetch, config } = client as Partial<Ollama>
  return isFunction(fetch) && typeof config?.host === 'string'
}
