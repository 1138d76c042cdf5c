// A lobby, two relays and the editor on this machine, until Ctrl-C: `npm run local`. CONVENE_BIN names the program
// `convene`; the one that `cargo build` has made unless it is given.

import { type ViteDevServer, createServer } from 'vite'

import { FINLAND, IRELAND, World } from './world.ts'

const world = await World.start([IRELAND, FINLAND])
const server = await serve().catch(async (error: unknown) => {
  await world.stop()
  throw error
})

const page = new URL(server.resolvedUrls!.local[0]!)
page.searchParams.set('lobby', world.lobbyUrl)
console.log(`The editor:   ${page.href}`)
console.log('Open it, create a session near eu-west-1, and open the link that it gives in a second window.')
console.log('Then let the relay under it go, and write on:')
console.log(`    kill ${world.relay(IRELAND.region).process.pid}`)
console.log('Ctrl-C ends all of it.')

let stopping = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (stopping) return
    stopping = true
    void Promise.allSettled([server.close(), world.stop()]).then(() => process.exit(0))
  })
}

async function serve(): Promise<ViteDevServer> {
  const server = await createServer({ logLevel: 'warn', server: { host: '127.0.0.1', port: Number(process.env['PORT'] ?? 5173) } })
  await server.listen()
  return server
}
