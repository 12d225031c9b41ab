import type { Client } from './client.js'
import { ConfigError } from './errors.js'
import { native } from './native.js'
import type { Seen } from './observing.js'
import { wrapAws } from './wrap/aws.js'
import { wrapCohere } from './wrap/cohere.js'
import { wrapGoogle } from './wrap/google.js'
import type { How, Kind } from './wrap/kind.js'
import { wrapLangChain } from './wrap/langchain.js'
import { wrapMistral } from './wrap/mistral.js'
import { wrapOllama } from './wrap/ollama.js'
import { wrapStainless } from './wrap/stainless.js'

/** How to observe a client. */
export interface WrapOptions {
  /** The provider's name, where the address does not say it: `openai`, `anthropic`, `azure`, ... */
  provider?: string
  /** Leaves the client as it is and gives back an observed twin. */
  copy?: boolean
}

/** The kinds of clients, by what they hold their transport in. The first that knows a client observes it. */
const KINDS: [names: string, Kind][] = [
  ['OpenAI and AzureOpenAI (openai 4 or newer)', wrapStainless],
  [
    'Anthropic, AnthropicBedrock and AnthropicVertex (@anthropic-ai/sdk 0.60, bedrock-sdk 0.24, vertex-sdk 0.12)',
    wrapStainless,
  ],
  ['Groq (groq-sdk)', wrapStainless],
  ['GoogleGenAI (@google/genai 1)', wrapGoogle],
  ['Mistral (@mistralai/mistralai 1.3)', wrapMistral],
  ['CohereClient and CohereClientV2 (cohere-ai 8)', wrapCohere],
  ['Ollama (ollama 0.5)', wrapOllama],
  ['BedrockRuntimeClient (@aws-sdk/client-bedrock-runtime 3)', wrapAws],
  ["LangChain's models (@langchain/openai 1, @langchain/anthropic 1)", wrapLangChain],
]

const SUPPORTED = `${KINDS.map(([names]) => names).join('; ')}; and newer ones. For anything that takes a fetch option, hand it the fetch of this package; for all else there is instrument()`

/** What is wrapped, by the name of the client's class: clients themselves may come and go by the thousand. @internal */
export const wrapped = new Map<string, Seen>()

/** `by`: what holds this client, under whose name its calls are counted. @internal */
export function wrapClient<T>(client: T, options: WrapOptions, trail: () => Client, by?: Seen): T {
  const { provider, copy = false, ...others } = checked(options)
  if (provider !== undefined && (typeof provider !== 'string' || provider === '')) {
    throw new ConfigError(`provider: expected a name such as 'openai', got ${shown(provider)}`)
  }
  if (typeof copy !== 'boolean') throw new ConfigError(`copy: expected true or false, got ${shown(copy)}`)
  for (const name of Object.keys(others)) {
    throw new ConfigError(`${name}: unknown option. Known options: provider, copy`)
  }
  const fail = (why?: string): never => {
    const because = why === undefined ? '' : `: ${why}`
    throw new TypeError(`llmtrail cannot observe ${shown(client)}${because}. Supported: ${SUPPORTED}`)
  }
  if (typeof client !== 'object' || client === null) return fail()
  const seen = by ?? seenAs(client)
  const how: How = {
    client: trail,
    seen,
    provider,
    copy,
    fail,
    wrap: (inner) => wrapClient(inner, { ...(provider !== undefined && { provider }) }, trail, seen),
  }
  for (const kind of new Set(KINDS.map(([, kind]) => kind))) {
    const hook = kind(client, how)
    if (!hook) continue
    // Without its core nothing would be recorded, which must be said here and not be found out later.
    native()
    const hooked = hook() as T
    wrapped.set(seen.what, seen)
    return hooked
  }
  return fail()
}

function seenAs(client: object): Seen {
  const { name } = client.constructor ?? {}
  const what = name || 'a client without a class'
  return wrapped.get(what) ?? { what, calls: 0 }
}

function checked(options: unknown): Record<string, unknown> & WrapOptions {
  if (options === undefined || options === null) return {}
  if (typeof options !== 'object')
    throw new ConfigError(`wrap: expected an object of options, got ${shown(options)}`)
  return options as Record<string, unknown>
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
