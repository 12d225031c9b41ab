// Express: one scope for each request, whatever runs side by side. `node express_app.mjs`.
import express from 'express'
import { span, trace, wrap } from 'llmtrail'
import OpenAI from 'openai'

const client = wrap(new OpenAI())
const app = express()
app.use(express.json())

/** @param {string} question */
const search = (question) =>
  span('search', { type: 'retrieval', input: question }, async () => [`Nothing is known about: ${question}`])

app.post('/ask', async (request, response) => {
  /** @type {{ text: string, chat: string }} */
  const { text, chat } = request.body
  const distinctId = request.get('user') ?? 'nobody'
  const answer = await trace('ask', { distinctId, sessionId: chat, input: text }, async (trace) => {
    const found = await search(text)
    const stream = await client.chat.completions.create({
      model: 'gpt-5-mini',
      messages: [
        { role: 'system', content: found.join('\n') },
        { role: 'user', content: text },
      ],
      stream: true,
    })
    let answer = ''
    for await (const chunk of stream) answer += chunk.choices[0]?.delta.content ?? ''
    trace.output = answer
    return answer
  })
  response.json({ answer })
})

app.listen(Number(process.env.PORT ?? 8000), '127.0.0.1')
