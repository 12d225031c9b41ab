// Every form of a scope: the whole tree is compared, and the errors in it.
import { execFile } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { runInNewContext } from 'node:vm'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { carry } from '../dist/index.mjs'
import {
  chunk,
  completion,
  type Event,
  folder,
  forest,
  ingestion,
  pause,
  provider,
  STREAM,
} from './servers.ts'

const run = promisify(execFile)
const server = await ingestion()
const model = await provider((request, response) => {
  if (request.body.includes('never')) return
  if (!request.body.includes('"stream":true')) {
    response.setHeader('content-type', 'application/json').end(completion('hello'))
    return
  }
  response.writeHead(200, STREAM).write(chunk('hel'))
  setTimeout(() => response.end(`${chunk('lo', 'stop')}data: [DONE]\n\n`), 5)
})
const client = server.client({ hosts: { [model.authority]: 'openai' } })
afterEach(() => expect(client.stats().notes).toEqual({}))
afterAll(async () => {
  await client.shutdown(2000)
  server.close()
  model.close()
})

const sent = async () => {
  await client.flush(10_000)
  return server.events.splice(0)
}
/** What went wrong, by the name of the scope. */
const errors = (events: Event[]) =>
  Object.fromEntries(
    events
      .filter(({ properties }) => properties.$ai_is_error)
      .map(({ properties: p }) => [p.$ai_span_name ?? p.$ai_input[0].content, p.$ai_error_type]),
  )

const leaf = (name: string) => client.span(name, () => undefined)

function ask(content: string, rest: { stream?: boolean; signal?: AbortSignal } = {}): Promise<Response> {
  const { stream = false, ...init } = rest
  const body = JSON.stringify({ model: 'gpt-5-mini', stream, messages: [{ role: 'user', content }] })
  return client.fetch(model.chat, { method: 'POST', body, ...init })
}

describe('blocks', () => {
  const hasUsing = (() => {
    try {
      return Boolean(new Function('{ using _ = null }'))
    } catch {
      return false
    }
  })()
  const awaited = (name: string) => ({
    [name]: { [`${name} step`]: { [`${name} deep`]: {} }, [`${name} late`]: {} },
  })

  it.for([
    ['es2022', true],
    ['esnext', hasUsing],
  ] as const)('end scopes with `using`, compiled for %s', async ([target, runs], { skip }) => {
    skip(!runs, 'this engine has no `using`')
    const out = folder()
    const options = `--target ${target} --lib ${target},esnext.disposable,dom --module esnext --moduleResolution bundler`
    await run(process.execPath, [
      join(import.meta.dirname, '../node_modules/typescript/bin/tsc'),
      join(import.meta.dirname, 'fixtures/using.mts'),
      ...`${options} --strict --ignoreConfig --noEmitOnError --skipLibCheck --types node --outDir ${out}`.split(
        ' ',
      ),
    ])
    const program = readdirSync(out, { recursive: true, encoding: 'utf8' }).find((name) =>
      /using.mjs$/.test(name),
    )
    const llmtrail = pathToFileURL(join(import.meta.dirname, '../dist/index.mjs')).href
    await run(process.execPath, [join(out, program ?? ''), llmtrail, server.host, folder()])
    const events = server.events.splice(0)
    expect(forest(events)).toEqual({
      block: { inner: { deep: {} }, 'after inner': {} },
      between: {},
      ...awaited('first'),
      'after first': {},
      ...awaited('second'),
      ...awaited('third'),
      left: { one: {}, two: { 'below two': {} } },
      each: { a: { 'below a': {} }, b: { 'below b': {} } },
      fails: { before: {} },
      generates: { 'by hand': {} },
      outside: {},
    })
    expect(errors(events)).toEqual({ fails: 'RangeError' })
    expect(events.filter(({ properties }) => properties.$ai_unfinished)).toEqual([])
  })
})

describe('scopes that are begun and ended by hand', () => {
  it('may end in the wrong order', async () => {
    await client.options({}, async () => {
      const trace = client.startTrace('t').enter()
      const outer = client.startSpan('outer').enter()
      const inner = client.startSpan('inner').enter()
      outer.end()
      leaf('below inner')
      trace.end()
      await null
      leaf('still below inner')
      inner.end(null)
      leaf('after all')
      outer.end(new Error('late'))
      await null
      leaf('later')
    })
    const events = await sent()
    expect(forest(events)).toEqual({
      t: { outer: { inner: { 'below inner': {}, 'still below inner': {} } } },
      'after all': {},
      later: {},
    })
    expect(errors(events)).toEqual({})
  })

  it('leave their caller where it was, also from an async function', async () => {
    const work = async (name: string) => {
      const trace = client.startTrace(name, { distinctId: name }).enter()
      await pause(1)
      leaf(`${name} below`)
      trace.end()
    }
    await client.options({ distinctId: 'caller' }, async () => {
      await work('first')
      leaf('between')
      await work('second')
      leaf('after')
    })
    const events = await sent()
    expect(forest(events)).toEqual({
      first: { 'first below': {} },
      between: {},
      second: { 'second below': {} },
      after: {},
    })
    const people = events.map(({ distinct_id, properties }) => [properties.$ai_span_name, distinct_id])
    expect(Object.fromEntries(people)).toMatchObject({ between: 'caller', second: 'second', after: 'caller' })
  })

  it('may be opened in one place and run in others', async () => {
    const trace = client.startTrace('t')
    const span = trace.startSpan('s')
    await Promise.all([
      span.run(async () => {
        await pause(2)
        leaf('slow')
      }),
      span.run(() => leaf('quick')),
      trace.run(() => client.span('beside', () => ask('asks').then((answer) => answer.text()))),
    ])
    trace.end()
    span.run(() => leaf('after the trace'))
    span.end()
    expect(forest(await sent())).toEqual({
      t: { s: { slow: {}, quick: {}, 'after the trace': {} }, beside: { asks: {} } },
    })
  })
})

describe('errors', () => {
  const unreadable = Object.defineProperty(new Error('x'), 'message', {
    get: () => {
      throw new Error('no')
    },
  })
  const hostile = new Proxy(
    {},
    {
      get: () => {
        throw new Error('no')
      },
      getPrototypeOf: () => {
        throw new Error('no')
      },
      ownKeys: () => {
        throw new Error('no')
      },
    },
  )
  const values: [string, unknown, string, string][] = [
    ['an error', new RangeError('far'), 'RangeError', 'far'],
    ['an AbortError', new DOMException('left', 'AbortError'), 'AbortError', 'left'],
    ['an error of another realm', runInNewContext('new RangeError("far")'), 'RangeError', 'far'],
    ['several', new AggregateError([new Error('a')], 'all failed'), 'AggregateError', 'all failed'],
    ['a text', 'just text', 'string', 'just text'],
    ['a number', 7, 'number', '7'],
    ['a bigint', 7n, 'bigint', '7'],
    ['an object', { code: 1 }, 'object', '{"code":1}'],
    ['a symbol', Symbol('s'), 'symbol', '"Symbol(s)"'],
    ['a function', function f() {}, 'function', '"[Function: f]"'],
    ['null', null, 'string', 'null'],
    ['undefined', undefined, 'string', 'undefined'],
    ['an error that cannot be read', unreadable, 'Error', '[Unreadable]'],
    ['what resists', hostile, 'object', '"[Unreadable]"'],
  ]

  it.each(values)('are whatever is thrown: %s', async (_, value, type, message) => {
    const raise = (): never => {
      throw value
    }
    const caught = (work: () => unknown) => {
      try {
        work()
      } catch (error) {
        return error === value
      }
      return false
    }
    const rejected = async (work: () => Promise<unknown>) =>
      work().then(
        () => false,
        (error: unknown) => error === value,
      )
    expect(caught(() => client.span('sync', raise))).toBe(true)
    expect(await rejected(() => client.span('async', async () => raise()))).toBe(true)
    const numbers = client.span('generator', function* () {
      yield 1
      raise()
    })
    expect(caught(() => [...numbers])).toBe(true)
    const later = client.span('async generator', async function* () {
      yield 1
      raise()
    })
    expect(
      await rejected(async () => {
        for await (const _ of later);
      }),
    ).toBe(true)
    expect(caught(() => client.generation({ model: 'm', input: 'by hand' }, raise))).toBe(true)
    const found = (await sent()).map(({ properties: p }) => [p.$ai_is_error, p.$ai_error, p.$ai_error_type])
    expect(found).toHaveLength(5)
    expect(found.slice(0, 4)).toEqual(Array(4).fill([true, message, type]))
    expect(found[4]?.[0]).toBe(true)
  })

  it('are those of a call that was aborted or took too long', async () => {
    const control = new AbortController()
    const reason = new Error('no longer wanted')
    const aborted = client.trace('aborted', () =>
      client.span('s', () => ask('never 1', { signal: control.signal })),
    )
    control.abort(reason)
    await expect(aborted).rejects.toBe(reason)
    const plain = new AbortController()
    const left = client.trace('left', () => ask('never 2', { signal: plain.signal }))
    plain.abort()
    await expect(left).rejects.toBe(plain.signal.reason)
    await expect(
      client.trace('late', () => ask('never 3', { signal: AbortSignal.timeout(20) })),
    ).rejects.toMatchObject({ name: 'TimeoutError' })
    const events = await sent()
    expect(forest(events)).toEqual({
      aborted: { s: { 'never 1': {} } },
      left: { 'never 2': {} },
      late: { 'never 3': {} },
    })
    expect(errors(events)).toMatchObject({
      aborted: 'Error',
      s: 'Error',
      left: 'AbortError',
      late: 'TimeoutError',
    })
  })
})

describe('generators', () => {
  it('go on where they are, side by side', async () => {
    function* steps(name: string): Generator<string> {
      leaf(`${name} 1`)
      yield name
      yield* client.span(`${name} inside`, function* () {
        leaf(`${name} 2`)
        yield name
        leaf(`${name} 3`)
      })
      leaf(`${name} 4`)
    }
    const first = client.trace('a', () => steps('a'))
    const second = client.trace('b', () => steps('b'))
    let n = 0
    while (![first.next(), second.next()].every((step) => step.done)) leaf(`between ${n++}`)
    const tree = (name: string) => ({
      [name]: {
        [`${name} 1`]: {},
        [`${name} inside`]: { [`${name} 2`]: {}, [`${name} 3`]: {} },
        [`${name} 4`]: {},
      },
    })
    expect(forest(await sent())).toEqual({ ...tree('a'), ...tree('b'), 'between 0': {}, 'between 1': {} })
  })

  it.each(['left by its loop', 'returned', 'thrown into'])('may be %s in the middle', async (way) => {
    const error = new Error('mine')
    function* numbers() {
      try {
        yield 1
        yield 2
      } finally {
        leaf('at last')
      }
    }
    async function* later() {
      try {
        yield 1
        yield 2
      } finally {
        await pause(1)
        leaf('async at last')
      }
    }
    const [sync, async] = client.trace('t', () => [client.span('sync', numbers), client.span('async', later)])
    if (way === 'left by its loop') {
      for (const _ of sync) break
      for await (const _ of async) break
    } else {
      sync.next()
      await async.next()
      if (way === 'returned') {
        sync.return()
        await async.return()
      } else {
        expect(() => sync.throw(error)).toThrow(error)
        await expect(async.throw(error)).rejects.toBe(error)
      }
    }
    const events = await sent()
    expect(forest(events)).toEqual({ t: { sync: { 'at last': {} }, async: { 'async at last': {} } } })
    expect(errors(events)).toEqual(way === 'thrown into' ? { sync: 'Error', async: 'Error' } : {})
  })
})

describe('a call is where it was made', () => {
  it.each(['read later', 'left'])('also when its stream is %s', async (way) => {
    const stream = await client.trace('t', () => client.span('s', () => ask('stream', { stream: true })))
    await client.trace('later', async () => {
      if (way === 'left') await stream.body?.cancel()
      else expect(await stream.text()).toContain('[DONE]')
      await (await ask('plain')).text()
    })
    const events = await sent()
    expect(forest(events)).toEqual({ t: { s: { stream: {} } }, later: { plain: {} } })
    const call = events.find(({ properties }) => properties.$ai_stream)
    expect(call?.properties.$ai_stream_status).toBe(way === 'left' ? 'abandoned' : 'complete')
  })

  it('in timers, microtasks, listeners and traces in traces', async () => {
    const emitter = new EventEmitter()
    await client.trace('t', async () => {
      emitter.once(
        'carried',
        carry(() => leaf('carried')),
      )
      emitter.once('bare', () => leaf('bare'))
      const waiting = once(emitter, 'carried').then(() => leaf('who waits'))
      await client.trace('other', async () => {
        emitter.emit('carried')
        emitter.emit('bare')
        await client.span('asks', async () => (await ask('inner')).text())
      })
      await waiting
      await new Promise<void>((done) => setTimeout(() => done(leaf('timer')), 1))
      await new Promise<void>((done) => setImmediate(() => done(leaf('immediate'))))
      await new Promise<void>((done) => process.nextTick(() => done(leaf('tick'))))
      queueMicrotask(() => leaf('microtask'))
      await Promise.all([1, 2].map((n) => client.span(`all ${n}`, () => pause(n))))
      setTimeout(() => leaf('after its end'), 5)
    })
    await pause(10)
    const all = ['carried', 'who waits', 'timer', 'immediate', 'tick', 'microtask', 'all 1', 'all 2']
    expect(forest(await sent())).toEqual({
      t: Object.fromEntries([...all, 'after its end'].map((name) => [name, {}])),
      other: { bare: {}, asks: { inner: {} } },
    })
  })
})
