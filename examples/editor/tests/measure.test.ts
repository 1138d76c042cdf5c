// The module for pages that measure, clients/browser/measure.js: against servers that answer, refuse or say nothing, and
// against a real lobby and real relays.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'

import { measure } from '../../../clients/browser/measure.js'
import { FINLAND, IRELAND, World, until } from './world.ts'

const servers: Server[] = []
after(() => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
})

/** The base URL of a server that answers so. */
async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A lobby with these regions, by the URLs of their probes. */
const lobby = (regions: Record<string, string[]>): Promise<string> =>
  serve((request, response) => {
    assert.equal(request.url, '/v1/regions')
    const all = Object.entries(regions).map(([region, urls]) => ({ region, probes: urls.map((url) => ({ url, expiresAt: 0 })) }))
    // As a lobby of before says it.
    response.end(JSON.stringify([...all, { region: 'older' }]))
  })

/** Milliseconds; or those of each request, by its number. */
type Delay = number | ((asked: number) => number)

/** A relay; how often it was asked, how often nobody waited for the answer any more, and over how many connections. */
async function relay(
  status: number | null,
  delay: Delay = 0,
): Promise<{ url: string; asked: () => number; left: () => number; connections: () => number }> {
  let [asked, left] = [0, 0]
  const connections = new Set()
  const url = await serve((request, response) => {
    asked++
    connections.add(request.socket)
    response.on('close', () => (left += response.writableFinished ? 0 : 1))
    const delayMs = typeof delay === 'number' ? delay : delay(asked)
    if (status !== null) setTimeout(() => response.writeHead(status).end(), delayMs)
  })
  return { url: `${url}/probe?token=t`, asked: () => asked, left: () => left, connections: () => connections.size }
}

/** So that a busy machine changes no outcome. */
const UNHURRIED = { soon: 60_000, late: 60_000 }

test('every region that answers is measured, the best three times, each over one connection', async () => {
  const relays = await Promise.all([0, 0, 150, 300].map((delay) => relay(204, delay)))
  const url = await lobby(Object.fromEntries(relays.map(({ url }, n) => [`r${n}`, [url]])))
  const found = await measure(`${url}/`, { ...UNHURRIED, best: 2 })
  assert.deepEqual(Object.keys(found).sort(), ['r0', 'r1', 'r2', 'r3'])
  assert.ok(found['r2']! >= 149 && found['r3']! >= 299, JSON.stringify(found))
  assert.equal(relays[3]!.asked(), 2, 'one opens the connection, one is a sample')
  assert.ok(relays.every(({ asked }) => asked() >= 2 && asked() <= 4))
  assert.deepEqual(relays.map(({ connections }) => connections()), [1, 1, 1, 1])
})

test('what refuses or says nothing is not known, and another relay of the region may be', async () => {
  const [good, bad, silent, other, spare] = await Promise.all([relay(204), relay(401), relay(null), relay(204), relay(204)])
  const regions = { good: [good.url, spare.url], bad: [bad.url], silent: [silent.url], both: [silent.url, other.url], none: [] }
  const found = await measure(await lobby(regions), { soon: 3000, late: 60_000 })
  assert.deepEqual(Object.keys(found).sort(), ['both', 'good'])
  assert.equal(spare.asked(), 0, 'one that answers is enough')
})

test('another relay of a region that has answered takes no sample from it', async () => {
  // One sample at once, the others after the moment in which the second relay would have been asked.
  const [slow, spare, other] = await Promise.all([relay(204, (asked) => (asked > 2 ? 400 : 0)), relay(204), relay(204)])
  const regions = { slow: [slow.url, spare.url], other: [other.url] }
  const found = await measure(await lobby(regions), UNHURRIED)
  assert.deepEqual(Object.keys(found).sort(), ['other', 'slow'])
  // On a machine that stands still the second is asked as well.
  assert.ok(slow.asked() + spare.asked() >= 4, `${slow.asked()} + ${spare.asked()}`)
})

test('what has been measured changes no more, and nobody is asked any more', async () => {
  const [late, spare, other] = await Promise.all([relay(204, 2000), relay(204), relay(204)])
  const found = await measure(await lobby({ late: [late.url, spare.url], other: [other.url] }), UNHURRIED)
  const before = structuredClone(found)
  await until('the first relay is left', () => late.left())
  assert.equal(late.asked(), 1)
  assert.deepEqual(found, before)
})

test('a region may have any name', async () => {
  const [odd, other] = await Promise.all([relay(204), relay(204)])
  const found = await measure(await lobby({ constructor: [odd.url], other: [other.url] }), UNHURRIED)
  assert.ok(Object.hasOwn(found, 'constructor') && found['constructor']! >= 0, JSON.stringify(found))
})

test('who knows nothing yet waits longer, and not for ever', async () => {
  const [slow, silent] = await Promise.all([relay(204, 200), relay(null)])
  const found = await measure(await lobby({ slow: [slow.url], silent: [silent.url] }), { soon: 50, late: 60_000 })
  assert.deepEqual(Object.keys(found), ['slow'])
  assert.deepEqual(await measure(await lobby({ silent: [silent.url], too: [silent.url] }), { soon: 50, late: 200 }), {})
})

test('a far region is told although a near one has answered, and one that refuses keeps nobody waiting', async () => {
  const far = relay(204, (asked) => (asked > 1 ? 600 : 0))
  const [near, slow, bad] = await Promise.all([relay(204), far, relay(401)])
  const url = await lobby({ near: [near.url], far: [slow.url], bad: [bad.url] })
  const found = await measure(url, { soon: 300, late: 60_000 })
  assert.deepEqual(Object.keys(found).sort(), ['far', 'near'])
  assert.equal(slow.left(), 0)
  const begin = performance.now()
  await measure(await lobby({ near: [near.url], bad: [bad.url] }), { soon: 300, late: 60_000 })
  assert.ok(performance.now() - begin < 30_000)
})

test('one region is no choice, and a lobby that is away no error', async () => {
  const only = await relay(204)
  assert.deepEqual(await measure(await lobby({ only: [only.url], none: [] })), {})
  assert.equal(only.asked(), 0)
  assert.deepEqual(await measure('http://127.0.0.1:1'), {})
  assert.deepEqual(await measure(await serve((_, response) => response.end('no JSON'))), {})
})

test('it measures real relays, and their lobby goes by that', async () => {
  const world = await World.start([IRELAND, FINLAND])
  try {
    // Geography would say Ireland.
    world.relay(IRELAND.region).line.delay(400)
    const latencies = await measure(world.lobbyUrl, UNHURRIED)
    assert.deepEqual(Object.keys(latencies).sort(), [FINLAND.region, IRELAND.region].sort())
    assert.ok(latencies[IRELAND.region]! >= 399, JSON.stringify(latencies))
    const body = JSON.stringify({ place: { latencies, location: { latitude: 53, longitude: -6 } } })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${world.lobbyUrl}/v1/sessions`, { method: 'POST', headers, body })
    const created = (await answer.json()) as { session: { region: string }; ranking: { rung: string }[] }
    assert.equal(created.session.region, FINLAND.region)
    assert.deepEqual(created.ranking.map(({ rung }) => rung), ['measured', 'measured'])
  } finally {
    await world.stop()
  }
})

test('it is small', () => {
  const bytes = readFileSync(new URL('../../../clients/browser/measure.js', import.meta.url)).length
  assert.ok(bytes <= 2048, `${bytes} bytes are more than 2 kB`)
})
