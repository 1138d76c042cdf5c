// How far the regions of a Convene lobby are: give the answer as `place.latencies` when you create or join a session.
// All regions at once, the best few three times; the least counts. What does not answer in time is left out.

// Ends after `soon` ms if anything is known and no other has begun to answer, else after `late`. Types: measure.d.ts
export async function measure(lobby, { soon = 1000, late = 3000, best = 3, samples = 3 } = {}) {
  const found = Object.create(null)
  const coming = new Set()
  const stop = new AbortController()
  let due
  const look = () => due && !coming.size && Object.keys(found)[0] && stop.abort()
  const timers = [setTimeout(() => look((due = 1)), soon), setTimeout(() => stop.abort(), late)]
  const sleep = (ms) => new Promise((go) => setTimeout(go, ms))
  const get = async (url, code = 204) => {
    const got = await fetch(url, { signal: stop.signal, cache: 'no-store', credentials: 'omit' })
    if (got.status !== code) throw 0
    return got
  }
  const probe = ({ region, probes }) =>
    Promise.any(probes.map(async ({ url }, turn) => {
      await sleep(300 * turn) // Another, should the first say nothing.
      if (turn && region in found) throw 0
      await get(url) // Opens the connection.
      region in found || coming.add(region)
      for (let n = 0; n < samples; n++) {
        await sleep(1) // Free again only then.
        const sent = performance.now()
        await get(url)
        const ms = Math.round((performance.now() - sent) * 10) / 10
        found[region] = Math.min(ms, found[region] ?? ms)
        coming.delete(region)
        look()
        if (Object.values(found).filter((of) => of < found[region]).length >= best) return
      }
    }))
  try {
    const all = await get(lobby.replace(/\/+$/, '') + '/v1/regions', 200)
    const regions = (await all.json()).filter(({ probes }) => probes?.length)
    if (regions[1]) await Promise.allSettled(regions.slice(0, 32).map(probe))
  } catch {}
  timers.forEach(clearTimeout)
  stop.abort()
  return { ...found }
}
