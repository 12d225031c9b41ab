import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * A call that one layer observes passes through others below it, which must not record it again. It is marked for as long
 * as its answer has not begun: what runs in its context until then belongs to it.
 */
interface Mark {
  /** Its answer has not begun. */
  live: boolean
  /** A request of the layer below was seen that belongs to it. */
  claimed: boolean
  /** Scheme and host. */
  origin: string
}

const storage = new AsyncLocalStorage<Mark>()
/** Those whose request was not seen below yet. */
const unclaimed = new Set<Mark>()

let layers = false

/** Whether anything below observes as well: only then are calls marked. @internal */
export function layered(on: boolean): void {
  layers = on
}

/** Runs what makes an observed call, marked as such. The promise it gives says when the answer begins. @internal */
export function covering<T>(url: string, make: () => Promise<T>): Promise<T> {
  if (!layers) return make()
  const mark: Mark = { live: true, claimed: false, origin: originOf(url) }
  const over = (): void => {
    mark.live = false
    unclaimed.delete(mark)
  }
  unclaimed.add(mark)
  let made: Promise<T>
  try {
    made = storage.run(mark, make)
  } catch (error) {
    over()
    throw error
  }
  Promise.resolve(made).then(over, over)
  return made
}

/** Whether the running code is part of a call that is observed already. @internal */
export function covered(): boolean {
  return storage.getStore()?.live === true
}

/**
 * Whether a request is part of a call that is observed already. A pool makes requests that had to wait for a connection
 * in the context of another: then any call to that host whose request was not seen yet will do, for each has one.
 * @internal
 */
export function claims(url: string): boolean {
  const mark = storage.getStore()
  const origin = originOf(url)
  const found =
    mark?.live && mark.origin === origin
      ? mark
      : [...unclaimed].find((mark) => !mark.claimed && mark.origin === origin)
  if (found) {
    found.claimed = true
    unclaimed.delete(found)
  }
  return found !== undefined || mark?.live === true
}

function originOf(url: string): string {
  const path = url.indexOf('/', url.indexOf('://') + 3)
  return (path < 0 ? url : url.slice(0, path)).toLowerCase()
}
