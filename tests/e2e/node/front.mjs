// Speaks HTTP/2 without TLS in front of the server at the address given, which knows only HTTP/1.1. It is a process of
// its own, for what it asks onward is not to be observed with the rest. It ends when its standard input does.
import { request } from 'node:http'
import { createServer } from 'node:http2'

const behind = process.argv[2]

const server = createServer((asked, answer) => {
  const headers = Object.fromEntries(Object.entries(asked.headers).filter(([name]) => !name.startsWith(':')))
  const onward = request(`${behind}${asked.url}`, { method: asked.method, headers })
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
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
process.stdin.resume().on('end', () => process.exit(0))
