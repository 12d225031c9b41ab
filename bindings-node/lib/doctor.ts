import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { instrumented } from './instrument.js'
import { type NativeClient, native } from './native.js'
import type { Seen } from './observing.js'
import { wrapped } from './wrap.js'

/** What `doctor` found. */
export interface Checkup {
  /** There are no problems. */
  ok: boolean
  /** What keeps calls from being recorded or events from being delivered, a sentence each. */
  problems: string[]
  /** What is worth knowing and is not wrong. */
  hints: string[]
  /** Of llmtrail. */
  version: string
  language: 'node'
  /** Such as `Node 22.12.0`. */
  runtime: string
  /** False: everything is switched off. */
  enabled: boolean
  /** The provider SDKs that are installed. */
  sdks: InstalledSdk[]
  /** What is observed in this process; null from the command line, which cannot know. */
  observed: ObservedCalls[] | null
  /** Where events go, the most important place first. */
  places: Place[]
  /** What is kept on disk for the server; null where there is none. */
  spool: SpoolState | null
  /** What became of events since the client began. */
  delivery: DeliveryState
}

export interface InstalledSdk {
  name: string
  version: string
  /** `yes`: one of the versions that the tests ran with, or between two of them; `no`: there are no tests with it. */
  tested: 'yes' | 'newer' | 'older' | 'no'
  testedVersions: { oldest: string; newest: string } | null
  observed: 'wrapped' | 'instrumented' | 'nothing' | null
}

export interface ObservedCalls {
  /** A class of clients, or a layer of an observed process (`fetch`, `undici`, `node:http`, `node:http2`). */
  what: string
  how: 'wrapped' | 'instrumented'
  /** Calls that it saw, attempts counted one by one. */
  calls: number
}

export type Place =
  | { kind: 'server'; host: string; key: string; acceptsKey: boolean | null; answer: string }
  | { kind: 'store'; path: string; writable: boolean; bytes: number | null; trouble: string | null }
  | { kind: 'sink'; name: string }

export interface SpoolState {
  mode: 'off' | 'overflow' | 'always'
  path: string
  trouble: string | null
  waiting: Leftovers
  rejected: Leftovers
  damaged: Leftovers
}

export interface Leftovers {
  files: number
  bytes: number
}

export interface DeliveryState {
  captured: number
  delivered: number
  pending: number
  dropped: Record<string, number>
  notes: Record<string, number>
  lastError: string | null
  /** RFC 3339. */
  lastSuccess: string | null
}

/** Has the core look at everything; prints it when asked to. @internal */
export async function examine(client: NativeClient, show: boolean, timeoutMs: number): Promise<Checkup> {
  const observed = [...rows([...wrapped.values()], 'wrapped'), ...rows(instrumented(), 'instrumented')]
  const { text, json } = await client.doctor(host(observed), timeoutMs)
  if (show) process.stdout.write(`${text}\n`)
  return JSON.parse(json) as Checkup
}

/** What the core is to know of this process, as JSON. @internal */
export function host(observed: ObservedCalls[] | undefined): string {
  return JSON.stringify({ runtime: `Node ${process.versions.node}`, sdks: installed(), observed })
}

const rows = (seen: Seen[], how: ObservedCalls['how']): ObservedCalls[] =>
  seen.map(({ what, calls }) => ({ what, how, calls }))

/** What a program in the working directory, or the program that runs, would find. */
function installed(): { name: string; version: string }[] {
  const from = [process.cwd(), ...(process.argv[1] ? [dirname(process.argv[1])] : [])]
  return native()
    .knownSdks()
    .flatMap((name) => {
      const version = from.map((folder) => versionOf(name, folder)).find((found) => found !== undefined)
      return version === undefined ? [] : [{ name, version }]
    })
}

/** Looked up as Node does it, but in the files: packages need not export their `package.json`. */
function versionOf(name: string, from: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    try {
      const text = readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')
      return (JSON.parse(text) as { version?: string }).version
    } catch {}
    if (dirname(folder) === folder) return undefined
  }
}
