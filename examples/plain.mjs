// A script: one trace, a step of its own, a streamed answer, and what it cost.
import { span, totals, trace, wrap } from 'llmtrail'
import OpenAI from 'openai'

const client = wrap(new OpenAI())

/** @param {string} question */
const search = (question) =>
  span('search', { type: 'retrieval', input: question }, (span) => {
    const found = [`Nothing is known about: ${question}`]
    span.output = found
    return found
  })

/** @param {string} question */
const ask = (question) =>
  trace('ask', { distinctId: 'user-1', sessionId: 'chat-1' }, async () => {
    const stream = await client.chat.completions.create({
      model: 'gpt-5-mini',
      messages: [
        { role: 'system', content: search(question).join('\n') },
        { role: 'user', content: question },
      ],
      stream: true,
    })
    let answer = ''
    for await (const chunk of stream) answer += chunk.choices[0]?.delta.content ?? ''
    return answer
  })

console.log(await ask('Where is my order?'))
console.log(await totals({ distinctId: 'user-1' }))
