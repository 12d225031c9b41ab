import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['*.test.ts'],
    reporters: ['dot'],
    pool: 'forks',
    execArgv: ['--expose-gc'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    // As Node itself loads them.
    server: { deps: { external: [/node_modules/, /bindings-node/] } },
  },
})
