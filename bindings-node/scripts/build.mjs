// Builds the package in place: the addon (debug; `--release` for the one that is published) and the JavaScript.
// `--js` leaves the addon as it is.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'rolldown'

const here = join(dirname(fileURLToPath(import.meta.url)), '..')
const { platform, arch } = process
const options = process.argv.slice(2)

if (!options.includes('--js')) {
  const release = options.includes('--release')
  const cargo = ['build', '-p', 'llmtrail-node', '--message-format', 'json-render-diagnostics']
  const messages = execFileSync('cargo', release ? [...cargo, '--release'] : cargo, {
    cwd: here,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const artifact = messages
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .findLast((message) => message.reason === 'compiler-artifact' && message.target.name === 'llmtrail_node')
  const library = artifact?.filenames.find((name) => /\.(so|dylib|dll)$/.test(name))
  if (!library) throw new Error('cargo built no library')
  const musl = platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime
  const to = join(here, 'prebuilt', `llmtrail.${platform}-${arch}${musl ? '-musl' : ''}.node`)
  mkdirSync(dirname(to), { recursive: true })
  // Renamed into place: a process that has the old file loaded keeps it.
  copyFileSync(library, `${to}.new`)
  renameSync(`${to}.new`, to)
}

rmSync(join(here, 'dist'), { recursive: true, force: true })
execFileSync(
  process.execPath,
  [join(here, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', here, '--emitDeclarationOnly'],
  { stdio: 'inherit' },
)
for (const file of ['index.mjs', 'index.d.mts', 'auto.mjs', 'auto.d.mts'])
  copyFileSync(join(here, 'lib', file), join(here, 'dist', file))

// One file for everything that is loaded at once: to find and open thirty of them took most of the time of `require`. What
// is loaded when it is asked for has a file of its own.
const LATER = ['instrument/http', 'instrument/http2', 'instrument/undici']
const entries = ['index', 'auto', 'doctor', 'native', ...LATER]
await build({
  cwd: here,
  input: Object.fromEntries(entries.map((name) => [name, `lib/${name}.ts`])),
  platform: 'node',
  transform: { target: 'node20' },
  external: [/^node:/, new RegExp(`^\\./(${LATER.join('|')})\\.js$`)],
  output: {
    dir: 'dist',
    format: 'cjs',
    chunkFileNames: '[name].js',
    comments: false,
    esModule: true,
    generatedCode: { symbols: false },
    codeSplitting: { groups: [{ name: 'llmtrail', test: /\/lib\/(?!auto|instrument\/)/ }] },
  },
})
