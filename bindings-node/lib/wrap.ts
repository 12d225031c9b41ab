import type { Client } from './client.js'
import { ConfigError } from './errors.js'
import { type Fetch, observe, observingOf } from './fetch.js'
import { native } from './native.js'

/** How to observe a client. */
export interface WrapOptions {
  /** The provider's name, where the address does not say it: `openai`, `anthropic`, `azure`, ... */
  provider?: string
  /** Leaves the client as it is and gives back an observed twin. */
  copy?: boolean
}

const SUPPORTED =
  'OpenAI and AzureOpenAI (openai 5 or newer), Anthropic (@anthropic-ai/sdk 0.60 or newer), ' +
  'and other clients of the same make; for anything that takes a fetch option, hand it the fetch of this package'

/** The clients that Stainless generates keep what they call in `fetch`. */
interface Handle {
  fetch: Fetch
  baseURL: string
  timeout?: unknown
  withOptions(options: { fetch: Fetch }): unknown
}

/** @internal */
export function wrapClient<T>(client: T, options: WrapOptions, trail: () => Client): T {
  const { provider, copy = false, ...others } = checked(options)
  if (provider !== undefined && (typeof provider !== 'string' || provider === '')) {
    throw new ConfigError(`provider: expected a name such as 'openai', got ${shown(provider)}`)
  }
  if (typeof copy !== 'boolean') throw new ConfigError(`copy: expected true or false, got ${shown(copy)}`)
  for (const name of Object.keys(others)) {
    throw new ConfigError(`${name}: unknown option. Known options: provider, copy`)
  }
  if (!isHandle(client)) {
    throw new TypeError(`llmtrail cannot observe ${shown(client)}. Supported: ${SUPPORTED}`)
  }
  const already = observingOf(client.fetch)
  if (already && already.client === trail && already.provider === provider && !copy) return client
  // Without its core nothing would be recorded, which must be said here and not be found out later.
  native()
  const observed = observe({
    client: trail,
    provider,
    inner: already ? already.inner : client.fetch,
    limit: () => client.timeout,
  })
  const hooked = copy ? client.withOptions({ fetch: observed }) : client
  if (!copy) client.fetch = observed
  if ((hooked as Handle).fetch !== observed) {
    throw new TypeError(
      `llmtrail cannot observe ${shown(client)}: it does not take another fetch. Supported: ${SUPPORTED}`,
    )
  }
  return hooked as T
}

function checked(options: unknown): Record<string, unknown> & WrapOptions {
  if (options === undefined || options === null) return {}
  if (typeof options !== 'object')
    throw new ConfigError(`wrap: expected an object of options, got ${shown(options)}`)
  return options as Record<string, unknown>
}

function isHandle(client: unknown): client is Handle {
  if (typeof client !== 'object' || client === null) return false
  const { fetch, baseURL, withOptions } = client as Partial<Handle>
  return typeof fetch === 'function' && typeof baseURL === 'string' && typeof withOptions === 'function'
}

/** A value in a message: what it is, never what is in it. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'function') return `the function ${value.name || '(anonymous)'}`
  if (typeof value !== 'object' || value === null) return String(value)
  try {
    const { name } = value.constructor
    return name && name !== 'Object' ? `an object of class ${name}` : 'a plain object'
  } catch {
    return 'an object'
  }
}
