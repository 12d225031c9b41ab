import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Case } from './loopback.ts'

// biome-ignore lint/suspicious/noExplicitAny: the SDKs are of several generations
type Any = any

/** What is said of an SDK: its own name and version, from the package that is installed under a name of ours. */
export function about(sdk: string, pkg: string, provider: string) {
  const file = join(import.meta.dirname, 'node_modules', pkg, 'package.json')
  const { name, version } = JSON.parse(readFileSync(file, 'utf8'))
  return { sdk, name: name as string, version: version as string, provider }
}

/** A method by its path, such as `chat.completions.create`. */
export function method(client: Any, path: string): (body: object, options?: object) => Any {
  const names = path.split('.')
  const last = names.pop() as string
  const owner = names.reduce((at, name) => at?.[name], client)
  return owner[last].bind(owner)
}

/** Python's name of a thing in JavaScript's way. */
export const camel = (name: string): string => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())

/** What is below these is an application's own. */
const FREE = new Set(['parameters', 'arguments', 'schema', 'data', 'metadata'])

/** A request with its members named in JavaScript's way. */
export function camelKeys(value: Any): Any {
  if (Array.isArray(value)) return value.map(camelKeys)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, value]) => [camel(name), FREE.has(name) ? value : camelKeys(value)]),
  )
}

const pathOf = ({ about }: Case): string => decodeURIComponent(new URL(about.url).pathname)

export function googleCall(client: Any, name: string, test: Case, abortSignal: AbortSignal) {
  const [, model] = /\/models\/([^:]+):/.exec(pathOf(test)) ?? []
  const { contents, generationConfig, requests, content, model: _, ...others } = test.request as Any
  const [first] = requests ?? []
  const { content: __, model: ___, ...embedding } = first ?? {}
  return method(
    client,
    name.split('.').map(camel).join('.'),
  )({
    model,
    contents: contents ?? requests?.map(({ content }: Any) => content) ?? content,
    config: { ...generationConfig, ...embedding, ...others, abortSignal },
  })
}

export function mistralCall(client: Any, name: string, { request }: Case, signal: AbortSignal) {
  const { stream: _, ...body } = request
  return method(client, name)(camelKeys(body), { fetchOptions: { signal } })
}

/** Members that are bytes, which JSON has as base64. */
const BYTES = new Set(['bytes', 'redactedContent'])

function withBytes(value: Any): Any {
  if (Array.isArray(value)) return value.map(withBytes)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, value]) => [
      name,
      BYTES.has(name) && typeof value === 'string' ? Buffer.from(value, 'base64') : withBytes(value),
    ]),
  )
}

export async function bedrockCall(sdk: Any, client: Any, name: string, test: Case, abortSignal: AbortSignal) {
  const [, modelId] = /\/model\/(.+)\/[^/]+$/.exec(pathOf(test)) ?? []
  const command = camel(`_${name}`)
  const input = command.startsWith('Invoke')
    ? { modelId, contentType: 'application/json', body: test.requestText }
    : { modelId, ...withBytes(test.request) }
  const answer = await client.send(new sdk[`${command}Command`](input), { abortSignal })
  return answer.stream ?? (answer.body?.[Symbol.asyncIterator] ? answer.body : answer)
}
