// A viewer of a filled store, and a browser to look at it.
import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const root = join(import.meta.dirname, '../..')
const bin = (name) => join(root, 'target/debug', name)

/** A new folder with a store of so many generations; none for 0. */
export function store(generations) {
  const dir = mkdtempSync(join(tmpdir(), 'llmtrail-viewer-'))
  if (generations) execFileSync(bin('store'), ['fill', dir, String(generations)])
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

/** Runs the command line on a store. */
export function llmtrail(dir, ...args) {
  return execFileSync(bin('llmtrail'), [...args, '--dir', dir], { encoding: 'utf8' })
}

/** A viewer of the store in a folder: its address with the token, what it said in the terminal, and how to end it. */
export async function view(dir, more = [], env = {}) {
  const child = spawn(bin('llmtrail'), ['view', '--json', '--port', '0', '--dir', dir, ...more], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
    process.stderr.write(text)
  })
  const lines = createInterface({ input: child.stdout })
  const [line] = await new Promise((resolve, reject) => {
    lines.once('line', (text) => resolve([text]))
    child.once('exit', (code) => reject(new Error(`llmtrail view ended with ${code}`)))
  })
  const { address } = JSON.parse(line)
  const url = new URL(address)
  return { address, origin: url.origin, port: url.port, token: url.searchParams.get('token'), said: () => said, stop: () => child.kill('SIGKILL') }
}

/** Debian's Chromium. */
export function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

let number = 0

/** A file of generations that began now, with these properties. */
export function events(dir, list) {
  const lines = list.map((properties) =>
    JSON.stringify({ event: '$ai_generation', uuid: randomUUID(), distinct_id: 'ada', timestamp: new Date().toISOString(), properties }),
  )
  const path = join(dir, `events-${++number}.jsonl`)
  writeFileSync(path, `${lines.join('\n')}\n`)
  return path
}
