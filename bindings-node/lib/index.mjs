// One copy of the package per process, whichever way it is loaded: the default client must be the same.
import llmtrail from './index.js'

export const {
  Client,
  ConfigError,
  LlmtrailError,
  Scope,
  capture,
  fetch,
  flush,
  init,
  options,
  session,
  shutdown,
  span,
  startSpan,
  startTrace,
  stats,
  trace,
  wrap,
} = llmtrail
