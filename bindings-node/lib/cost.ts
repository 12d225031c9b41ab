import { coded } from './errors.js'
import { toJson } from './json.js'
import { type NativeClient, native } from './native.js'

/** An amount of US dollars: a number, or a decimal string, which is read exactly. */
export type Money = number | string

/** Prices of one thing each: USD per million tokens; `request` and `webSearch` USD each. */
export interface Rates {
  input?: Money
  output?: Money
  cacheRead?: Money
  cacheWrite?: Money
  cacheWrite1h?: Money
  audioInput?: Money
  audioCacheRead?: Money
  imageInput?: Money
  reasoning?: Money
  audioOutput?: Money
  imageOutput?: Money
  request?: Money
  webSearch?: Money
}

/** A price of your own, in the words of the price file. In `model` and `provider` a `*` stands for any run of characters. */
export interface Price extends Rates {
  model: string
  provider?: string
  /** The first day, in UTC: `2026-10-01`. */
  validFrom?: string
  /** Other prices in requests of more than so many input tokens: `{ 200000: { input: '0.40' } }`. */
  over?: Record<number, Rates>
  /** Every price times this; alone, the catalogue's price times this. */
  multiplier?: Money
}

/**
 * A call whose cost is asked for. Counts are as the provider counts: cached tokens are inside `inputTokens` at OpenAI and
 * Gemini, beside them at Anthropic; reasoning is inside `outputTokens` at OpenAI, beside them at Gemini. Where that is
 * not so, `cacheExclusive` and `reasoningExclusive` say how it is.
 */
export interface CostQuestion {
  /** As the call or the response names it. */
  model?: string
  /** As in `$ai_provider`, or an alias (`gemini`, `bedrock`, ...); without it the model's maker. */
  provider?: string
  inputTokens?: number
  outputTokens?: number
  cacheReadTokens?: number
  /** Tokens written to a cache, of any lifetime. */
  cacheWriteTokens?: number
  /** Those of them that live for an hour. */
  cacheWrite1hTokens?: number
  reasoningTokens?: number
  audioInputTokens?: number
  audioOutputTokens?: number
  audioCacheReadTokens?: number
  imageInputTokens?: number
  imageOutputTokens?: number
  requests?: number
  webSearches?: number
  /** Whether cached tokens are beside `inputTokens`. */
  cacheExclusive?: boolean
  /** Whether reasoning is beside `outputTokens`. */
  reasoningExclusive?: boolean
  /** The service tier that served: `flex`, `priority`, `batch`. */
  serviceTier?: string
  region?: string
  /** When the call was made, for the price of that day: a date, milliseconds since 1970, or RFC 3339; default: now. */
  at?: Date | number | string
  /** What the provider said it cost, in dollars. */
  reportedCost?: Money
  /** An event's properties (`$ai_model`, `$ai_input_tokens`, ...) instead of, or under, all that. */
  properties?: Record<string, unknown>
  /** Prices for this question alone: the path of a price file, a list of prices, or a price table. */
  prices?: string | readonly Price[] | Record<string, unknown>
}

/** One bucket's part of a cost. */
export interface CostLine {
  /** Tokens, requests or searches. */
  units: number
  /** The price of one in US dollars, as an exact decimal string. */
  unitPrice: string
  /** Units times price, as an exact decimal string. */
  amount: string
}

/** What a call costs, and how that is known. Amounts are US dollars, as exact decimal strings; what is not known is null. */
export interface Cost {
  /** The whole call; null when it is not known, and `reason` says why. */
  total: string | null
  /** The same as a number. */
  totalUsd: number | null
  input: string | null
  output: string | null
  /** The price per request. */
  request: string | null
  /** Searches that the provider ran. */
  webSearch: string | null
  /** Where it is from; of a question without counts, where `prices` are from. */
  source: 'reported' | 'custom' | 'local' | 'correction' | 'openrouter' | 'manual' | 'unknown'
  /** The model as the price list names it. */
  model: string | null
  /** The price list's row. */
  provider: string | null
  /** How the model was found: `pattern` is by a price of your own, `given` needed no search. */
  match: 'exact' | 'shortened' | 'pattern' | 'given' | null
  /** `standard`, `batch`, `flex`, `priority`, ... */
  mode: string | null
  /** The number of input tokens above which these prices hold, in a higher tier. */
  inputOver: number | null
  /** The price lists and their dates. */
  catalogue: string | null
  /** The time whose prices these are. */
  at: string | null
  /** The prices that the call goes by: USD per million tokens, per request, per search. */
  prices: Record<string, string>
  /** Other prices by the number of input tokens above which they hold. */
  over: Record<string, Record<string, string>>
  /** By kind of token, request and search (`input_text`, `cache_read`, ...). */
  buckets: Record<string, CostLine>
  /** What had to be assumed, in sentences. */
  assumptions: string[]
  /** What had to be mended in the counts, in sentences. */
  repaired: string[]
  /** Why there is no price. */
  reason: string | null
  /** Beside a reported cost: where the catalogue's figure is from. */
  catalogueSource: string | null
  /** Beside a reported cost: what the catalogue says. */
  catalogueTotal: string | null
  /** The reported cost less the catalogue's. */
  difference: string | null
}

/** The price file's words whose spelling differs. */
const WORDS: Record<string, string> = {
  validFrom: 'valid_from',
  cacheRead: 'cache_read',
  cacheWrite: 'cache_write',
  cacheWrite1h: 'cache_write_1h',
  audioInput: 'audio_input',
  audioCacheRead: 'audio_cache_read',
  imageInput: 'image_input',
  audioOutput: 'audio_output',
  imageOutput: 'image_output',
  webSearch: 'web_search',
}

function inFileWords(price: object): object {
  const entries = Object.entries(price).map(([word, value]) => [
    WORDS[word] ?? word,
    word === 'over' && typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value).map(([tokens, rates]) => [tokens, inFileWords(Object(rates))]),
        )
      : value,
  ])
  return Object.fromEntries(entries)
}

/** The answer of the core. @internal */
export function ask(client: NativeClient, question: CostQuestion): Cost {
  const { at, prices } = question
  const words = {
    ...question,
    at: at instanceof Date ? at.getTime() : at,
    prices: Array.isArray(prices) ? prices.map((price) => inFileWords(Object(price))) : prices,
  }
  return JSON.parse(coded(() => native().cost(client, toJson(words))))
}

/** Hands a price to the core. @internal */
export function setPrice(client: NativeClient, price: Price): void {
  coded(() => native().setPrice(client, toJson(inFileWords(Object(price)))))
}
