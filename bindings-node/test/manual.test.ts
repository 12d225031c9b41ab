import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Client, LlmtrailError } from '../dist/index.mjs'
import { type Event, type Ingestion, ingestion } from './servers.ts'

let server: Ingestion
let client: Client

beforeAll(async () => {
  server = await ingestion()
  client = server.client()
})
afterAll(async () => {
  await client.shutdown(2000)
  server.close()
})

async function sent(name?: string): Promise<Event[]> {
  await client.flush(5000)
  const events = server.events.splice(0)
  return name === undefined ? events : events.filter((event) => event.event === name)
}

describe('capture by hand', () => {
  it('prices and places a generation', async () => {
    const given = await client.trace(
      'answer',
      { distinctId: 'u', sessionId: 's', properties: { plan: 'pro' } },
      async (trace) => {
        const spanId = client.captureGeneration({
          model: 'gpt-4o',
          provider: 'openai',
          name: 'draft',
          input: 'hi',
          output: 'hello',
          usage: { inputTokens: 1000, outputTokens: 100 },
          parameters: { temperature: 0.5, max_tokens: 200 },
          stopReason: 'stop',
          latency: 1500,
          timestamp: new Date('2026-01-02T03:04:05Z'),
          properties: { step: 1 },
        })
        const usage = await trace.usage()
        expect(usage.usage).toEqual({ input_text: 1000, output_text: 100 })
        // 1,000 tokens at $2.50 and 100 at $10 a million.
        expect(usage.costUsd).toBeCloseTo(0.0035, 12)
        return { spanId, traceId: trace.traceId }
      },
    )
    const [event] = await sent('$ai_generation')
    expect(event).toMatchObject({ timestamp: '2026-01-02T03:04:05.000Z', distinct_id: 'u' })
    expect(event?.properties).toMatchObject({
      $ai_trace_id: given.traceId,
      $ai_parent_id: given.traceId,
      $ai_session_id: 's',
      $ai_span_id: given.spanId,
      $ai_span_name: 'draft',
      $ai_provider: 'openai',
      $ai_model: 'gpt-4o',
      $ai_input: [{ role: 'user', content: 'hi' }],
      $ai_output_choices: [{ role: 'assistant', content: 'hello' }],
      $ai_input_tokens: 1000,
      $ai_output_tokens: 100,
      $ai_tokens_source: 'passthrough',
      $ai_cache_reporting_exclusive: false,
      $ai_latency: 1.5,
      $ai_stop_reason: 'stop',
      $ai_temperature: 0.5,
      $ai_max_tokens: 200,
      $ai_stream: false,
      $ai_total_cost_usd: 0.0035,
      plan: 'pro',
      step: 1,
    })
  })

  // The rows of `captureAiGeneration` in docs/migrate-from-posthog.md.
  it("takes all that PostHog's captureAiGeneration took", async () => {
    client.captureGeneration({
      distinctId: 'u',
      traceId: 't',
      model: 'my-model',
      provider: 'mine',
      input: [{ role: 'user', content: 'hi' }],
      output: [{ role: 'assistant', content: 'hello' }],
      parameters: { temperature: 0.2 },
      baseUrl: 'https://llm.example/v1?key=x',
      httpStatus: 429,
      latency: 1500,
      timeToFirstToken: 250,
      usage: {
        inputTokens: 1000,
        outputTokens: 10,
        reasoningTokens: 4,
        cacheReadInputTokens: 100,
        cacheCreationInputTokens: 50,
        webSearchCount: 1,
      },
      properties: {
        plan: 'pro',
        $ai_service_tier: 'priority',
        $ai_completion_id: 'chatcmpl-1',
        $ai_provider_metadata: { system_fingerprint: 'fp' },
        $ai_input_token_price: 0.002,
        $ai_output_token_price: 0.004,
      },
      groups: { company: 'acme' },
      tools: [{ type: 'function', function: { name: 'f' } }],
      stopReason: 'stop',
      error: new RangeError('too many'),
    })
    client.captureEmbedding({ model: 'm', input: 'text', privacy: true })
    const [event, embedding] = await sent()
    expect(event).toMatchObject({
      event: '$ai_generation',
      distinct_id: 'u',
      properties: {
        $ai_trace_id: 't',
        $ai_model: 'my-model',
        $ai_provider: 'mine',
        $ai_input: [{ role: 'user', content: 'hi' }],
        $ai_output_choices: [{ role: 'assistant', content: 'hello' }],
        $ai_model_parameters: { temperature: 0.2 },
        $ai_base_url: 'https://llm.example/v1',
        $ai_http_status: 429,
        $ai_latency: 1.5,
        $ai_time_to_first_token: 0.25,
        $ai_input_tokens: 1000,
        $ai_output_tokens: 10,
        $ai_reasoning_tokens: 4,
        $ai_cache_read_input_tokens: 100,
        $ai_cache_creation_input_tokens: 50,
        $ai_web_search_count: 1,
        plan: 'pro',
        $ai_service_tier: 'priority',
        $ai_completion_id: 'chatcmpl-1',
        $ai_provider_metadata: { system_fingerprint: 'fp' },
        $groups: { company: 'acme' },
        $ai_tools: [{ type: 'function', function: { name: 'f' } }],
        $ai_stop_reason: 'stop',
        $ai_is_error: true,
        $ai_error: 'too many',
        $ai_error_type: 'RangeError',
        $ai_output_cost_usd: 0.04,
        $ai_cost_model_source: 'custom',
      },
    })
    expect(embedding).toMatchObject({ event: '$ai_embedding', properties: { $ai_input: null } })
  })

  it('hides content in privacy mode', async () => {
    client.options({ privacy: true }, () => {
      client.captureGeneration({
        model: 'm',
        input: 'secret',
        output: 'secret',
        error: new TypeError('secret'),
      })
    })
    const [event] = await sent()
    expect(JSON.stringify(event)).not.toContain('secret')
    expect(event?.properties.$ai_error).toBe('TypeError')
  })

  it('records embeddings, spans and traces that are over', async () => {
    client.captureEmbedding({
      model: 'text-embedding-3-small',
      provider: 'openai',
      input: ['a', 'b'],
      usage: { inputTokens: 1000 },
    })
    const traceId = client.captureTrace('job', { input: 'in', output: 'out', latency: 2000, distinctId: 'u' })
    const spanId = client.captureSpan('step', {
      type: 'tool',
      traceId,
      parentId: traceId,
      input: { q: 1 },
      latency: 500,
      error: new RangeError('k'),
    })
    const events = await sent()
    const of = (name: string) => events.find((event) => event.event === name)?.properties
    expect(of('$ai_embedding')?.$ai_total_cost_usd).toBeCloseTo(0.00002, 12)
    expect(of('$ai_trace')).toMatchObject({
      $ai_trace_id: traceId,
      $ai_trace_latency: 2,
      $ai_output_state: 'out',
    })
    expect(of('$ai_span')).toMatchObject({
      $ai_trace_id: traceId,
      $ai_parent_id: traceId,
      $ai_span_id: spanId,
      $ai_span_type: 'tool',
      $ai_latency: 0.5,
      $ai_error: 'k',
      $ai_error_type: 'RangeError',
    })
  })

  it('takes feedback and metrics', async () => {
    const trace = client.trace('t', { distinctId: 'u', sessionId: 's' }, (trace) => {
      client.feedback(undefined, { score: 1, comment: 'good' })
      return trace
    })
    client.feedback(trace, { comment: 'later' })
    client.metric('elsewhere', 'faithfulness', 0.9, { distinctId: 'judge' })
    const events = await sent()
    const feedbacks = events.filter((event) => event.event === '$ai_feedback')
    const metrics = events.filter((event) => event.event === '$ai_metric')
    expect(feedbacks.map((event) => event.properties.$ai_feedback_text)).toEqual(['good', 'later'])
    for (const event of feedbacks) {
      expect(event.distinct_id).toBe('u')
      expect(event.properties).toMatchObject({ $ai_trace_id: trace.traceId, $ai_session_id: 's' })
    }
    expect(metrics[0]?.properties).toMatchObject({ $ai_metric_name: 'score', $ai_metric_value: 1 })
    expect(metrics[1]).toMatchObject({ distinct_id: 'judge' })
    expect(metrics[1]?.properties).toMatchObject({ $ai_trace_id: 'elsewhere', $ai_metric_value: 0.9 })
  })

  it('hands over values as they are, those that are not plain too', async () => {
    const long = 'x'.repeat(40)
    const plain = {
      texts: [
        '',
        'quote " \\ \n\t\0\u001f\u007f',
        'ü',
        `${'日本😀'.repeat(50)}"${long}`,
        `${long}"${long}\n`,
      ],
      'ü"\0': { '': [1, -0.5, 1e21, true, null, undefined, [], {}] },
      none: undefined,
    }
    const arrived = { texts: plain.texts, 'ü"\0': { '': [1, -0.5, 1e21, true, null, null, [], {}] } }
    const odd = {
      own: { toJSON: () => 'mine' },
      list: Object.assign([1], { toJSON: () => 'never asked' }),
      number: Number.NaN,
      made: Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true } }),
    }
    client.captureGeneration({ properties: { plain } })
    client.captureGeneration({ properties: { plain, odd } })
    client.captureGeneration({ properties: { halves: ['a\ud800b', '\udc00', { 'name\udc00': '\ud83d' }] } })
    const [first, second, third] = (await sent('$ai_generation')).map((event) => event.properties)
    expect(first?.plain).toEqual(arrived)
    expect(second?.plain).toEqual(arrived)
    expect(second?.odd).toEqual({ own: 'mine', list: [1], number: 'NaN', made: { own: 2 } })
    expect(third?.halves).toEqual(['a\ufffdb', '\ufffd', { 'name\ufffd': '\ufffd' }])
  })

  it('says what is wrong', () => {
    // @ts-expect-error: no such member
    expect(() => client.captureGeneration({ modle: 'x' })).toThrow(/modle is no name that is known here/)
    expect(() => client.feedback(undefined, { score: 1 })).toThrow(LlmtrailError)
    expect(() => client.feedback('t', {})).toThrow(/give a score/)
    expect(() => client.metric('t', '', 1)).toThrow(/needs a name/)
    expect(() => client.capture('x', { timestamp: Number.NaN })).toThrow(/no time since 1970/)
  })

  it('captures events in the surrounding scope', async () => {
    const options = {
      distinctId: 'u',
      sessionId: 's',
      properties: { plan: 'pro', a: 1 },
      groups: { co: 'x' },
    }
    const trace = client.trace('t', options, (trace) => {
      client.capture('ordered', { properties: { a: 2 }, groups: { team: 'y' } })
      return trace
    })
    client.capture('outside')
    const events = await sent()
    const ordered = events.find((event) => event.event === 'ordered')
    const outside = events.find((event) => event.event === 'outside')
    expect(ordered?.distinct_id).toBe('u')
    expect(ordered?.properties).toMatchObject({
      plan: 'pro',
      a: 2,
      $groups: { co: 'x', team: 'y' },
      $ai_trace_id: trace.traceId,
      $ai_session_id: 's',
    })
    expect(ordered?.properties).not.toHaveProperty('$process_person_profile')
    expect(outside?.distinct_id).toBe(outside?.uuid)
    expect(outside?.properties.$process_person_profile).toBe(false)
  })

  it('times a call of your own', async () => {
    const value = await client.trace('t', () =>
      client.generation({ model: 'm', input: 'hi' }, async (generation) => {
        generation.firstToken()
        generation.output = 'hello'
        generation.usage = { outputTokens: 2 }
        generation.set({ step: 1 })
        return 7
      }),
    )
    expect(value).toBe(7)
    const error = new RangeError('bad')
    expect(() =>
      client.generation({ model: 'm' }, () => {
        throw error
      }),
    ).toThrow(error)
    const started = client.startGeneration({ model: 'm' })
    started.end()
    started.end()
    const [good, bad, third, ...more] = await sent('$ai_generation')
    expect(more).toEqual([])
    expect(good?.properties).toMatchObject({
      $ai_output_choices: [{ role: 'assistant', content: 'hello' }],
      $ai_output_tokens: 2,
      $ai_stream: true,
      step: 1,
    })
    expect(good?.properties.$ai_time_to_first_token).toBeLessThanOrEqual(good?.properties.$ai_latency)
    expect(bad?.properties).toMatchObject({ $ai_error: 'bad', $ai_error_type: 'RangeError' })
    expect(third?.properties.$ai_span_id).toBe(started.spanId)
  })
})
