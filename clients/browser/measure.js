// How far the regions of a Convene lobby are: give the answer as `place.latencies` when you create or join a session.
// All regions at once, the best few three times; the least counts. What does not answer in time is not known: left out.

// Ends after `soon` ms if anything is known by then, else after `late`. Types: measure.d.ts
export async function measure(lobby, { soon = 1000, late = 3000, best = 3, samples = 3 } = {}) {
  const found = Object.create(null)
  const stop = new AbortController()
  const { signal } = stop
  const begin = performance.now()
  const look = () => performance.now() - begin > soon && Object.keys(found).length && stop.abort()
  const timers = [setTimeout(look, soon + 1), setTimeout(() => stop.abort(), late)]
  const sleep = (ms) => new Promise((go) => setTimeout(go, ms))
  const get = (url) => fetch(url, { signal, cache: 'no-store', credentials: 'omit' })
  const sample = async (region, url) => {
    await get(url) // Opens the connection.
    for (let n = 0; n < samples; n++) {
      await sleep(1) // It is free again only then.
      const sent = performance.now()
      if ((await get(url)).status !== 204) throw 0
      const ms = Math.round((performance.now() - sent) * 10) / 10
      found[region] = Math.min(ms, found[region] ?? ms)
      look()
      if (Object.values(found).filter((other) => other < found[region]).length >= best) return
    }
  }
  const probe = ({ region, probes }) =>
    Promise.any(probes.map(async ({ url }, turn) => {
      await sleep(300 * turn) // Another relay, should the first say nothing.
      if (turn && region in found) throw 0
      await sample(region, url)
    }))
  try {
    const all = await (await get(lobby.replace(/\/+$/, '') + '/v1/regions')).json()
    const regions = all.filter(({ probes }) => probes?.length)
    if (regions[1]) await Promise.allSettled(regions.slice(0, 32).map(probe))
  } catch {}
  timers.forEach(clearTimeout)
  stop.abort()
  return { ...found }
}
