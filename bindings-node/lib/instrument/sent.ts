import type { Recorder } from '../recorder.js'

/** The body of a request as it is written. @internal */
export class Sent {
  #pieces: Buffer[] | undefined = []

  constructor(private readonly recorder: Recorder) {}

  /** A piece, if it is one: the arguments of `write` and `end` may be anything. */
  add(piece: unknown, encoding: unknown): void {
    if (typeof piece === 'string') {
      this.#pieces?.push(
        Buffer.from(piece, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8'),
      )
    } else if (piece instanceof Uint8Array) {
      this.#pieces?.push(Buffer.from(piece))
    }
  }

  /** All of it was written, or as much as ever will be. */
  over(): void {
    if (this.#pieces) this.recorder.body(Buffer.concat(this.#pieces))
    this.#pieces = undefined
  }
}
