// A small support chat on the real OpenAI and Anthropic SDKs, observed.
//
// One conversation (a session) of two requests (traces): retrieval with an embedding, a streamed answer, a tool call,
// a call that fails, and a Claude call with a cached prompt. Run it with `make demo`, or by hand with your own keys.

import Anthropic from '@anthropic-ai/sdk'
import { flush, init, session, span, trace, wrap } from 'llmtrail'
import OpenAI from 'openai'

const ARTICLES = {
  Refunds: 'Refunds reach the original payment method within five working days of the return.',
  Delivery: 'Orders placed before noon leave on the same day. Tracking is in the confirmation mail.',
  Passwords: 'A reset link is valid for one hour. Check the spam folder before asking for another one.',
}
const TOOLS = [
  {
    type: 'function',
    function: {
      name: 'order_status',
      description: 'Where an order is.',
      parameters: { type: 'object', properties: { order_id: { type: 'string' } }, required: ['order_id'] },
    },
  },
]
const lines = Array.from({ length: 39 }, (_, n) =>
  Object.entries(ARTICLES).map(([title, text]) => `${n + 1}. ${title}: ${text}`),
)
const HANDBOOK = `You are a support agent of a small shop. Be brief and kind.\n${lines.flat().join('\n')}`

// The demo tells which provider stands behind the loopback server; with real keys there is nothing to tell.
init({ hosts: JSON.parse(process.env.DEMO_HOSTS ?? '{}') })
const openai = wrap(new OpenAI())
const claude = wrap(new Anthropic())

const retrieve = (question) =>
  span('retrieve', { type: 'retrieval', input: question }, async (s) => {
    const input = [question, ...Object.values(ARTICLES)]
    const reply = await openai.embeddings.create({ model: 'text-embedding-3-small', input, dimensions: 256 })
    const [asked, ...articles] = reply.data.map((item) => item.embedding)
    const likeness = articles.map((article) => article.reduce((sum, value, i) => sum + value * asked[i], 0))
    const titles = Object.keys(ARTICLES)
      .map((title, i) => [likeness[i], title])
      .sort((a, b) => b[0] - a[0])
    s.output = titles.slice(0, 2).map(([, title]) => title)
    return s.output
  })

// A streamed answer with what was found.
const answer = (question) =>
  trace('answer question', { properties: { channel: 'web' } }, async (t) => {
    const found = await retrieve(question)
    const messages = [
      { role: 'system', content: `Answer from these articles: ${found.map((title) => ARTICLES[title]).join('; ')}` },
      { role: 'user', content: question },
    ]
    let text = ''
    for await (const chunk of await openai.chat.completions.create({ model: 'gpt-5-mini', messages, stream: true })) {
      text += chunk.choices[0].delta.content ?? ''
    }
    t.output = text
    return text
  })

// A tool call, an attempt that fails, and a polite answer by Claude.
const order = (question) =>
  trace('track order', async (t) => {
    const messages = [{ role: 'user', content: question }]
    const first = await openai.chat.completions.create({ model: 'gpt-5-mini', messages, tools: TOOLS })
    for (const call of first.choices[0].message.tool_calls ?? []) {
      const result = await span(call.function.name, { type: 'tool', input: call.function.arguments }, (s) => {
        s.output = { status: 'on its way', arrives: 'tomorrow' }
        return s.output
      })
      messages.push(first.choices[0].message, {
        role: 'tool',
        tool_call_id: call.id,
        content: JSON.stringify(result),
      })
    }
    try {
      await openai.chat.completions.create({ model: 'no-such-model', messages }, { maxRetries: 0 })
    } catch (error) {
      if (!(error instanceof OpenAI.APIError)) throw error
      // The event has it; a real application would now use its fallback model, as we do.
    }
    const second = await openai.chat.completions.create({ model: 'gpt-5-mini', messages, tools: TOOLS })
    const polite = await claude.messages.create({
      model: 'claude-sonnet-4-6',
      max_tokens: 300,
      system: [{ type: 'text', text: HANDBOOK, cache_control: { type: 'ephemeral' } }],
      messages: [{ role: 'user', content: `Say this kindly: ${second.choices[0].message.content}` }],
    })
    t.output = polite.content[0].text
    return t.output
  })

await session('chat-node', { distinctId: 'user-1' }, async () => {
  console.log('user: How long does a refund take?')
  console.log('shop:', await answer('How long does a refund take?'))
  console.log('user: Where is order 1042?')
  console.log('shop:', await order('Where is order 1042?'))
})
await flush(5000)
