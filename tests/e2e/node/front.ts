import { request } from 'node:http'
import { createServer, type Http2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { Loopback } from './loopback.ts'

/** Speaks HTTP/2 without TLS in front of the loopback server, which knows only HTTP/1.1. */
export class Front {
  readonly url: string

  private constructor(
    private readonly server: Http2Server,
    private readonly behind: Loopback,
  ) {
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async start(behind: Loopback): Promise<Front> {
    const server = createServer((asked, answer) => {
      const headers = Object.entries(asked.headers).filter(([name]) => !name.startsWith(':'))
      const onward = request(`${behind.url}${asked.url}`, {
        method: asked.method,
        headers: Object.fromEntries(headers) as Record<string, string>,
      })
      // What breaks behind breaks in front.
      const cut = () => asked.stream.session?.destroy()
      onward.on('error', cut)
      onward.on('response', (response) => {
        const { connection: _, 'transfer-encoding': __, ...kept } = response.headers
        answer.writeHead(response.statusCode ?? 502, kept)
        response.on('error', cut)
        response.pipe(answer)
      })
      asked.on('aborted', () => onward.destroy())
      asked.pipe(onward)
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    return new Front(server, behind)
  }

  /** As the one of the server behind. */
  case(name: string, knobs = ''): string {
    return this.behind.case(name, knobs).replace(this.behind.url, this.url)
  }

  close(): void {
    this.server.close()
  }
}
