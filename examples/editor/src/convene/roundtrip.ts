// How far it is to a relay: the time of a small request to it, since a page sees no pings of its WebSocket.

import type { Region } from './lobby.ts'

/** Requests of one measurement. The first may open a connection; the fastest is the round trip. */
const REQUESTS = 2
/** Milliseconds after which a request counts as lost. */
const LOST_MS = 2_500

/**
 * The URL to time, from the WebSocket URL of a session on its relay. Who has a token of the lobby is answered on the
 * connection that is open; who has none is refused, which takes longer and says only that the relay is there.
 */
export function probeUrl(sessionUrl: string, regions: Region[] = []): string {
  const bare = sessionUrl.replace(/^ws/, 'http').replace(/\/s\/[^/]*$/, '/probe')
  const given = regions.flatMap(({ probes = [] }) => probes).find(({ url }) => url.startsWith(`${bare}?`))
  return given?.url ?? bare
}

/** Round-trip time in milliseconds; `undefined` when the relay does not answer. */
export async function measure(url: string, signal: AbortSignal): Promise<number | undefined> {
  let fastest: number | undefined
  for (let n = 0; n < REQUESTS; n++) {
    const begin = performance.now()
    try {
      // Any answer will do, also a 404 of something between.
      await fetch(url, { mode: 'no-cors', cache: 'no-store', signal: AbortSignal.any([signal, AbortSignal.timeout(LOST_MS)]) })
    } catch {
      return undefined
    }
    const took = performance.now() - begin
    fastest = fastest === undefined ? took : Math.min(fastest, took)
  }
  return fastest
}
