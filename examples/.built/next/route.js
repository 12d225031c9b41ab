// Next.js: `app/api/ask/route.ts`. One scope for each request; the answer streams on after the handler has returned, and
// the call still belongs to the trace that it was made in.
import { span, startTrace, wrap } from 'llmtrail';
import OpenAI from 'openai';
export const runtime = 'nodejs';
const client = wrap(new OpenAI());
const search = (question) => span('search', { type: 'retrieval', input: question }, async () => [`Nothing is known about: ${question}`]);
export async function POST(request) {
    const { text, chat } = (await request.json());
    const distinctId = request.headers.get('user') ?? 'nobody';
    const trace = startTrace('ask', { distinctId, sessionId: chat, input: text });
    const chunks = await trace.run(async () => {
        const found = await search(text);
        return client.chat.completions.create({
            model: 'gpt-5-mini',
            messages: [
                { role: 'system', content: found.join('\n') },
                { role: 'user', content: text },
            ],
            stream: true,
        });
    });
    const encoder = new TextEncoder();
    const body = new ReadableStream({
        async start(controller) {
            let answer = '';
            for await (const chunk of chunks) {
                const piece = chunk.choices[0]?.delta.content ?? '';
                answer += piece;
                controller.enqueue(encoder.encode(piece));
            }
            controller.close();
            trace.output = answer;
            trace.end();
        },
    });
    return new Response(body, { headers: { 'content-type': 'text/plain; charset=utf-8' } });
}
