import AnthropicBedrock from '@anthropic-ai/bedrock-sdk'
import Anthropic from '@anthropic-ai/sdk'
import AnthropicVertex from '@anthropic-ai/vertex-sdk'
import * as bedrock from '@aws-sdk/client-bedrock-runtime'
import { Mistral } from '@mistralai/mistralai'
import Anthropic060 from 'anthropic-0-60'
import AnthropicBedrock024 from 'anthropic-bedrock-0-24'
import AnthropicVertex012 from 'anthropic-vertex-0-12'
import * as bedrock3650 from 'bedrock-runtime-3-650'
import { CohereClientV2 as Cohere80 } from 'cohere-8-0'
import { CohereClientV2 } from 'cohere-ai'
import { GoogleGenAI as GoogleGenAI1 } from 'google-genai-1'
import Groq030 from 'groq-0-30'
import Groq from 'groq-sdk'
import { Mistral as Mistral13 } from 'mistralai-1'
import { Ollama } from 'ollama'
import { Ollama as Ollama05 } from 'ollama-0-5'
import OpenAI, { AzureOpenAI } from 'openai'
import OpenAI4 from 'openai-4'
import OpenAI5 from 'openai-5'
import { Agent } from 'undici'
import { about, bedrockCall, camel, camelKeys, googleCall, method, mistralCall } from './calling.ts'
import type { Case } from './loopback.ts'

/** Whether this Node can run what wants 22. */
export const MODERN = Number(process.versions.node.split('.')[0]) >= 22

// biome-ignore lint/suspicious/noExplicitAny: the SDKs are of several generations
export type Any = any

/** How a client is made for a test. */
export interface Making {
  /** The server never answers, or goes silent: the time limit is half a second. */
  silent?: boolean
  retries?: number
  fetch?: typeof fetch
}

/** One generation of an SDK. */
export interface Sdk {
  /** As in `calls.json`. */
  sdk: string
  /** Its name and version in the registry. */
  name: string
  version: string
  /** The provider that its client is wrapped with. */
  provider: string
  /** Calls that it does not have, or not in the form of the cases. */
  lacks?: string[]
  /** Why there is nothing to see of its retries. */
  noRetries?: string
  /** It speaks HTTP/2, with no way to ask whether the server does. */
  http2?: boolean
  /** A client for a case at `base`. */
  client(base: string, test: Case, making: Making): Any
  /** Makes a call by Python's name of it; `signal` breaks it off. */
  call(client: Any, name: string, test: Case, signal: AbortSignal): Promise<Any>
  /** Where a stream that is left waits for its next piece first: ends that wait. */
  leave?(answer: Any): void
}

const impatient = new Agent({ bodyTimeout: 500, headersTimeout: 500 })

/** What the clients that Stainless makes have in common. */
const common = ({ silent = false, retries = 0, fetch }: Making) => ({
  apiKey: 'sk-test-key',
  maxRetries: retries,
  timeout: silent ? 500 : 20_000,
  ...(fetch && { fetch }),
  // The time limit of these SDKs ends with the response's head; the one for a silent body is the HTTP stack's.
  ...(silent && { fetchOptions: { dispatcher: impatient } as object }),
})

const stainless = (client: Any, name: string, { request }: Case) => method(client, name)(request)

/** Of a case on another platform: the model, and whether it is a stream, are in the address. */
const elsewhere = (client: Any, name: string, { request, about }: Case) => {
  const { anthropic_version: _, ...rest } = request
  const path = decodeURIComponent(new URL(about.url).pathname)
  const [, model] = /\/(?:model|models)\/([^/]*?)(?:\/invoke|:raw|:stream)/.exec(path) ?? []
  return method(client, name)({ model, ...rest, ...(/[sS]tream/.test(path) && { stream: true }) })
}

function openai(pkg: string, OpenAI: Any): Sdk {
  return {
    ...about('openai', pkg, 'openai'),
    client: (base, _, making) => new OpenAI({ ...common(making), baseURL: `${base}/v1` }),
    call: stainless,
  }
}

function anthropic(pkg: string, Anthropic: Any): Sdk {
  return {
    ...about('anthropic', pkg, 'anthropic'),
    client: (base, _, making) => new Anthropic({ ...common(making), baseURL: base }),
    call: stainless,
  }
}

function groq(pkg: string, Groq: Any): Sdk {
  return {
    ...about('groq', pkg, 'groq'),
    client: (base, _, making) => new Groq({ ...common(making), baseURL: base }),
    call: stainless,
  }
}

/** Before version 1 these two said of every attempt that it was the first. */
const uncounted = (version: string) =>
  version.startsWith('0.')
    ? { noRetries: 'n/a: this version says of each attempt that it is the first, so each is an event' }
    : {}

function anthropicBedrock(pkg: string, AnthropicBedrock: Any): Sdk {
  const of = about('anthropic-bedrock', pkg, 'amazon-bedrock')
  const keys = { awsRegion: 'us-east-1', awsAccessKey: 'test', awsSecretKey: 'test' }
  return {
    ...of,
    ...uncounted(of.version),
    client: (base, _, making) =>
      new AnthropicBedrock({ ...common(making), apiKey: undefined, ...keys, baseURL: base }),
    call: elsewhere,
    leave: (answer) => answer.controller.abort(),
  }
}

function anthropicVertex(pkg: string, AnthropicVertex: Any): Sdk {
  const token = { authorization: 'Bearer test' }
  // The older ones take the headers as an object.
  const authClient = {
    projectId: 'demo-project',
    getRequestHeaders: async () => Object.assign(new Headers(token), token),
  }
  const of = about('anthropic-vertex', pkg, 'google-vertex')
  return {
    ...of,
    ...uncounted(of.version),
    client: (base, { about }, making) => {
      const [, region] = /\/locations\/([^/]+)/.exec(about.url) ?? []
      const { apiKey: _, ...options } = common(making)
      const google = { getClient: async () => authClient }
      return new AnthropicVertex({
        ...options,
        region,
        projectId: 'demo-project',
        googleAuth: google,
        baseURL: `${base}/v1`,
      })
    },
    call: elsewhere,
  }
}

/** Google's SDK can be told to retry since version 2. */
const RETRIES = /^[^1]\./

function google(pkg: string, GoogleGenAI: Any): Sdk {
  const of = about('google', pkg, 'google-ai-studio')
  return {
    ...of,
    ...(!RETRIES.test(of.version) && { noRetries: 'n/a: it does not retry' }),
    client: (base, { about }, { silent, retries = 0 }) => {
      const [, apiVersion] = /^\/([^/]+)/.exec(new URL(about.url).pathname) ?? []
      return new GoogleGenAI({
        apiKey: 'test-key',
        httpOptions: {
          baseUrl: base,
          apiVersion,
          ...(silent && { timeout: 500 }),
          ...(retries > 0 && { retryOptions: { attempts: 1 + retries, initialDelay: 0.01 } }),
        },
      })
    },
    call: googleCall,
  }
}

function mistral(pkg: string, Mistral: Any): Sdk {
  return {
    ...about('mistral', pkg, 'mistral'),
    client: (base, _, { silent, retries = 0 }) =>
      new Mistral({
        apiKey: 'test-key',
        serverURL: base,
        timeoutMs: silent ? 500 : 20_000,
        retryConfig:
          retries === 0
            ? { strategy: 'none' }
            : {
                strategy: 'backoff',
                backoff: { initialInterval: 5, maxInterval: 10, exponent: 1, maxElapsedTime: 5000 },
                retryConnectionErrors: true,
              },
      }),
    call: mistralCall,
  }
}

function cohere(pkg: string, CohereClientV2: Any): Sdk {
  return {
    ...about('cohere', pkg, 'cohere'),
    client: (base, _, { silent, retries = 0 }) =>
      new CohereClientV2({
        token: 'test-key',
        environment: base,
        maxRetries: retries,
        timeoutInSeconds: silent ? 0.5 : 20,
      }),
    call: (client, name, { request }, signal) => {
      const { stream: _, ...body } = request
      return method(client, camel(name))(camelKeys(body), { abortSignal: signal })
    },
  }
}

function ollama(pkg: string, Ollama: Any): Sdk {
  return {
    ...about('ollama', pkg, 'ollama'),
    noRetries: 'n/a: it does not retry',
    client: (base, _, { silent }) =>
      new Ollama({
        host: base,
        // It knows no time limits.
        ...(silent && {
          fetch: (input: string, init?: RequestInit) =>
            fetch(input, { ...init, signal: AbortSignal.timeout(500) }),
        }),
      }),
    call: (client, name, { request }) => client[name](request),
  }
}

function aws(pkg: string, sdk: Any, http2: boolean): Sdk {
  return {
    ...about('bedrock', pkg, 'amazon-bedrock'),
    http2,
    client: (base, _, { silent, retries = 0 }) =>
      new sdk.BedrockRuntimeClient({
        region: 'us-east-1',
        credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
        endpoint: base,
        maxAttempts: 1 + retries,
        ...(silent && { requestHandler: { requestTimeout: 500, sessionTimeout: 500 } }),
      }),
    call: (client, name, test, signal) => bedrockCall(sdk, client, name, test, signal),
  }
}

/** What this Node can run of each SDK, the newest first. */
export const SDKS: Record<string, Sdk[]> = {
  openai: [
    ...(MODERN ? [openai('openai-7', (await import('openai-7')).default)] : []),
    openai('openai', OpenAI),
    openai('openai-5', OpenAI5),
    openai('openai-4', OpenAI4),
  ],
  anthropic: [anthropic('@anthropic-ai/sdk', Anthropic), anthropic('anthropic-0-60', Anthropic060)],
  'anthropic-bedrock': [
    anthropicBedrock('@anthropic-ai/bedrock-sdk', AnthropicBedrock),
    anthropicBedrock('anthropic-bedrock-0-24', AnthropicBedrock024),
  ],
  'anthropic-vertex': [
    anthropicVertex('@anthropic-ai/vertex-sdk', AnthropicVertex),
    anthropicVertex('anthropic-vertex-0-12', AnthropicVertex012),
  ],
  google: [
    google('@google/genai', (await import('@google/genai')).GoogleGenAI),
    google('google-genai-1', GoogleGenAI1),
  ],
  mistral: [mistral('@mistralai/mistralai', Mistral), mistral('mistralai-1', Mistral13)],
  groq: [groq('groq-sdk', Groq), groq('groq-0-30', Groq030)],
  cohere: [cohere('cohere-ai', CohereClientV2), cohere('cohere-8-0', Cohere80)],
  ollama: [ollama('ollama', Ollama), ollama('ollama-0-5', Ollama05)],
  bedrock: [
    aws('@aws-sdk/client-bedrock-runtime', bedrock, true),
    aws('bedrock-runtime-3-650', bedrock3650, false),
  ],
}

/** The generations of two SDKs whose helpers are tested one by one. */
export const openais: [string, typeof OpenAI][] = [
  ['openai 6', OpenAI],
  ['openai 5', OpenAI5 as unknown as typeof OpenAI],
]
if (MODERN) openais.unshift(['openai 7', (await import('openai-7')).default as unknown as typeof OpenAI])

export const anthropics: [string, typeof Anthropic][] = [
  ['@anthropic-ai/sdk 1', Anthropic],
  ['@anthropic-ai/sdk 0.60', Anthropic060 as unknown as typeof Anthropic],
]

const PACKAGES: Record<string, string> = {
  'openai 7': 'openai-7',
  'openai 6': 'openai',
  'openai 5': 'openai-5',
  '@anthropic-ai/sdk 1': '@anthropic-ai/sdk',
  '@anthropic-ai/sdk 0.60': 'anthropic-0-60',
}

/** The name and version, as its registry has them, of one of these. */
export const versionOf = (name: string) => about('', PACKAGES[name] ?? name, '')

export { AzureOpenAI }
