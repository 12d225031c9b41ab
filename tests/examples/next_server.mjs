// Calls a route handler as Next does: with a Request for each one that comes in, and streams what it answers.
import { createServer } from 'node:http'
import { Readable } from 'node:stream'

const { POST } = await import(process.argv[2])

createServer(async (incoming, outgoing) => {
  const request = new Request(`http://127.0.0.1${incoming.url}`, {
    method: incoming.method,
    headers: incoming.headers,
    body: Readable.toWeb(incoming),
    duplex: 'half',
  })
  const response = await POST(request)
  outgoing.writeHead(response.status, Object.fromEntries(response.headers))
  Readable.fromWeb(response.body).pipe(outgoing)
}).listen(Number(process.env.PORT), '127.0.0.1')
