import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Garbage collection on demand, for the responses that are dropped unread.
    pool: 'forks',
    execArgv: ['--expose-gc'],
    testTimeout: 20_000,
    // As Node itself loads the package.
    server: { deps: { external: [/\/dist\//] } },
  },
})
