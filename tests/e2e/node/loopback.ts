import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const ROOT = join(import.meta.dirname, '../../..')
const CORPUS = join(ROOT, 'tests/corpus')

/** An event as PostHog gets it. */
export interface Event {
  event: string
  distinct_id: string
  uuid: string
  timestamp: string
  // biome-ignore lint/suspicious/noExplicitAny: properties are free-form
  properties: Record<string, any>
}

/** The server that plays the providers and PostHog's ingestion: see `tests/loopback/README.md`. */
export class Loopback {
  private constructor(
    readonly url: string,
    readonly close: () => void,
  ) {}

  static async start(): Promise<Loopback> {
    const { url, close } = await started(join(ROOT, 'target/debug/loopback'), ['--with-parent'])
    return new Loopback(url, close)
  }

  /** Where the SDKs find a case of the corpus; `knobs` as in `chunk=7,gzip=1`. */
  case(name: string, knobs = ''): string {
    return `${this.url}${knobs && `/knobs/${knobs}`}/case/${name}`
  }

  /** The events since the last reset. */
  async events(): Promise<Event[]> {
    return this.control('events')
  }

  /** The calls to providers since the last reset. */
  async calls(): Promise<
    {
      path: string
      status: number | null
      ended: string
      sha256: string
      as_recorded: boolean
      header_names: string[]
    }[]
  > {
    return this.control('providers')
  }

  async reset(): Promise<void> {
    await fetch(`${this.url}/_control`, { method: 'DELETE' })
  }

  private async control<T>(what: string): Promise<T[]> {
    const found = (await (await fetch(`${this.url}/_control/${what}`)).json()) as T[] | Record<string, T[]>
    return Array.isArray(found) ? found : (found[what] ?? [])
  }
}

/** Speaks HTTP/2 in front of it. */
export class Front {
  private constructor(
    readonly url: string,
    readonly close: () => void,
    private readonly behind: Loopback,
  ) {}

  static async start(behind: Loopback): Promise<Front> {
    const { url, close } = await started(process.execPath, [
      join(import.meta.dirname, 'front.mjs'),
      behind.url,
    ])
    return new Front(url, close, behind)
  }

  /** As the one of the server behind. */
  case(name: string, knobs = ''): string {
    return this.behind.case(name, knobs).replace(this.behind.url, this.url)
  }
}

/** Starts a server in a process of its own, which ends with this one. */
async function started(program: string, args: string[]): Promise<{ url: string; close: () => void }> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  for await (const line of createInterface(child.stdout)) {
    const [, url] = /^listening on (\S+)/.exec(line) ?? []
    if (url) return { url, close: () => child.stdin.end() }
  }
  throw new Error(`${program} did not start`)
}

/** One case of the corpus. */
export interface Case {
  about: {
    url: string
    status?: number
    end?: string
    provider?: string
    asked_usage?: boolean
    cost?: { total: string }
    shows: string
  }
  request: Record<string, unknown>
  requestText: string
  response: string
  /** Items of the recorded stream: its events, lines or chunks. */
  items: number
  expected: { event: string; properties: Record<string, unknown> }
}

export function readCase(name: string): Case {
  const folder = join(CORPUS, name)
  const text = (file: string) => readFileSync(join(folder, file), 'utf8')
  const json = (file: string) => JSON.parse(text(file))
  const has = (file: string) => existsSync(join(folder, file))
  const file = ['response.json', 'response.sse', 'response.ndjson', 'response.body'].find(has)
  const response = file === undefined ? '' : text(file)
  const items = has('events.json')
    ? json('events.json').length
    : file === 'response.ndjson'
      ? response.trimEnd().split('\n').length
      : response.split('data:').length - 1
  return {
    about: json('case.json'),
    request: json('request.json'),
    requestText: text('request.json'),
    response,
    items,
    expected: json('expected.json'),
  }
}

const folders: string[] = []
process.on('exit', () => {
  for (const path of folders) rmSync(path, { recursive: true, force: true })
})

/** A folder of its own, that is gone when the tests are. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'llmtrail-'))
  folders.push(path)
  return path
}

export const rules: { volatile: string[]; cost: string } = JSON.parse(
  readFileSync(join(CORPUS, 'normalise.json'), 'utf8'),
)

interface Call {
  name: string
  sdk: string
  call: string
  case: string
  only?: string
}

export const calls = (JSON.parse(readFileSync(join(ROOT, 'tests/e2e/calls.json'), 'utf8')) as Call[]).filter(
  ({ only }) => only === undefined || only === 'node',
)
