// Nanoseconds that a price takes in Node: llmtrail and genai-prices. Prints JSON lines.
import { readFileSync } from 'node:fs'
import { calcPrice } from '@pydantic/genai-prices'
import { cost } from 'llmtrail'

const cases = JSON.parse(readFileSync(new URL('cases.json', import.meta.url), 'utf8'))
const timestamp = new Date('2026-11-17T00:00:00Z')
const usage = { input_tokens: 2000, cache_read_tokens: 800, output_tokens: 350 }

function nanoseconds(ask) {
  const calls = 200
  const rounds = []
  for (let round = 0; round < 60; round++) {
    const begin = process.hrtime.bigint()
    for (let call = 0; call < calls; call++) ask()
    rounds.push(Number(process.hrtime.bigint() - begin) / calls)
  }
  return rounds.sort((a, b) => a - b)[rounds.length >> 1]
}

for (const { provider, genai, model, known } of cases) {
  // Claude's counts leave the cache out of the input.
  const inputTokens = provider === 'anthropic' ? 1200 : 2000
  const subjects = {
    'llmtrail (Node)': () => cost({ model, provider, inputTokens, cacheReadTokens: 800, outputTokens: 350 }).total,
    'genai-prices (Node)': () => calcPrice(usage, model, { providerId: genai, timestamp })?.total_price ?? null,
  }
  for (const [subject, ask] of Object.entries(subjects)) {
    if ((ask() !== null) !== known) throw new Error(`${subject} ${provider} ${model}: ${ask()}`)
    console.log(JSON.stringify({ price: `${provider} ${model}`, subject, ns: nanoseconds(ask) }))
  }
}
