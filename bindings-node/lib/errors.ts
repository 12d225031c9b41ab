import { types } from 'node:util'

/** A mistake in the use of this package. What happens while a call is observed is never an error, but counted. */
export class LlmtrailError extends Error {
  /**
   * The same in Rust, Python and JavaScript: `config`, `usage`, `store` or `input`; as `onError` gets it, what the
   * trouble is about (`unreachable`, `denied`, `rejected`, ...: see docs/delivery.md).
   */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** An option that cannot be used. The message names it and says what is allowed. */
export class ConfigError extends LlmtrailError {
  constructor(message: string, options?: ErrorOptions) {
    super('config', message, options)
  }
}

/** Whether it is an error, of this realm or of another one (`node:vm`, and so Jest's). @internal */
export function isError(value: unknown): value is Error {
  try {
    return types.isNativeError(value) || value instanceof Error
  } catch {
    return false // a proxy that does not want to be asked
  }
}

/** Runs a step of the core; its errors come out as the classes above. @internal */
export function coded<T>(step: () => T): T {
  try {
    return step()
  } catch (error) {
    if (!(isError(error) && 'code' in error && typeof error.code === 'string')) throw error
    throw error.code === 'config'
      ? new ConfigError(error.message)
      : new LlmtrailError(error.code, error.message)
  }
}
