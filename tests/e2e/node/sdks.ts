import Anthropic from '@anthropic-ai/sdk'
import Anthropic060 from 'anthropic-0-60'
import OpenAI, { AzureOpenAI } from 'openai'
import OpenAI5 from 'openai-5'

/** The generations that this Node can run; `openai` 7 wants Node 22. */
export const openais: [string, typeof OpenAI][] = [
  ['openai 6', OpenAI],
  ['openai 5', OpenAI5 as unknown as typeof OpenAI],
]
if (Number(process.versions.node.split('.')[0]) >= 22) {
  openais.unshift(['openai 7', (await import('openai-7')).default as unknown as typeof OpenAI])
}

export const anthropics: [string, typeof Anthropic][] = [
  ['@anthropic-ai/sdk 1', Anthropic],
  ['@anthropic-ai/sdk 0.60', Anthropic060 as unknown as typeof Anthropic],
]

export { Anthropic, AzureOpenAI, OpenAI }

/** A method by its path, such as `chat.completions.create`. */
// biome-ignore lint/suspicious/noExplicitAny: the SDKs are of several generations
export function method(client: any, path: string): (body: object, options?: object) => any {
  const names = path.split('.')
  const last = names.pop() as string
  const owner = names.reduce((at, name) => at?.[name], client)
  return owner[last].bind(owner)
}
