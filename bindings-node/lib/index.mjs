// One copy of the package per process, whichever way it is loaded: the default client must be the same.
import llmtrail from './index.js'

export const {
  Client,
  ConfigError,
  LlmtrailError,
  Scope,
  capture,
  cost,
  fetch,
  flush,
  init,
  instrument,
  options,
  session,
  setPrice,
  shutdown,
  span,
  startSpan,
  startTrace,
  stats,
  trace,
  uninstrument,
  wrap,
} = llmtrail
