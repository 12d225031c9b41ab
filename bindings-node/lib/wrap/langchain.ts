import { isFunction, isObject, type Kind } from './kind.js'

/** LangChain's models hold an SDK's client, which they make at their first call. @internal */
export const wrapLangChain: Kind = (model, how) => {
  const holders = [...holdersOf(model)]
  if (holders.length === 0) return undefined
  return () => {
    if (how.copy) how.fail('a model of LangChain cannot be copied')
    for (const [holder, names] of holders) for (const name of names) observeWhenMade(holder, name, how.wrap)
    remake(model, how.wrap)
    return model
  }
}

/** What of a model tells that it, or a part of it, holds clients. */
interface Model {
  clientConfig?: unknown
  createClient?: unknown
  completions?: Model
  responses?: Model
  withConfig?: unknown
}

/** The parts of a model that hold clients, with the names that they hold them by. */
function* holdersOf(model: Model): Generator<[object, string[]]> {
  const { clientConfig, createClient, completions, responses } = model
  if (isObject(clientConfig)) yield [model, ['client']]
  if (isFunction(createClient)) yield [model, ['batchClient', 'streamingClient']]
  for (const part of [completions, responses]) {
    if (part && isObject(part.clientConfig)) yield [part, ['client']]
  }
}

const observing = Symbol('llmtrail')

/** Observes the client that is held here, and any that is put here later. */
function observeWhenMade(holder: object, name: string, wrap: <T>(client: T) => T): void {
  const found = Object.getOwnPropertyDescriptor(holder, name)
  const before = (holder as Record<string, unknown>)[name]
  let held = isObject(before) ? wrap(before) : before
  if (found?.get && observing in found.get) return
  const get = Object.assign(() => held, { [observing]: true })
  const set = (client: unknown): void => {
    held = isObject(client) ? wrap(client) : client
  }
  Object.defineProperty(holder, name, { get, set, enumerable: found?.enumerable ?? true, configurable: true })
}

/** A model with other options is a new one (`bindTools`, `withStructuredOutput`), which is to be observed too. */
function remake(model: Model, wrap: <T>(client: T) => T): void {
  const { withConfig } = model
  if (!isFunction(withConfig) || observing in withConfig) return
  const remade = function (this: unknown, ...args: never[]): unknown {
    const made = withConfig.apply(this as never, args)
    return isObject(made) && made.constructor === model.constructor ? wrap(made) : made
  }
  const value = Object.assign(remade, { [observing]: true })
  Object.defineProperty(model, 'withConfig', { value, writable: true, configurable: true })
}
