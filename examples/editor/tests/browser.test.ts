// The page, as it is built, in Chromium: two people write while their session is moved, and while the relay under them goes away.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Browser, type Page, chromium } from 'playwright-core'
import { type PreviewServer, preview } from 'vite'

import { readLink } from '../src/convene/links.ts'
import { FINLAND, IRELAND, PATIENCE_MS, World, until } from './world.ts'

const CHROMIUM = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** Where pictures go, if anywhere. */
const SCREENSHOTS = process.env['SCREENSHOTS']

let world: World
let server: PreviewServer
let browser: Browser

before(async () => {
  assert.ok(existsSync(join(ROOT, 'dist/index.html')), 'there is no build to test: run `npm run build`')
  assert.ok(existsSync(CHROMIUM), `there is no ${CHROMIUM}: install Chromium, or name it in CHROMIUM`)
  world = await World.start([IRELAND, FINLAND])
  server = await preview({ root: ROOT, logLevel: 'error', preview: { host: '127.0.0.1', port: 0 } })
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  })
})

after(async () => {
  await browser?.close()
  await server?.close()
  await world?.stop()
})

/** A browser of its own: shares nothing with the others but the relay. */
async function person(name: string, errors: string[]): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1000, height: 420 }, colorScheme: 'light' })
  context.setDefaultTimeout(PATIENCE_MS)
  const page = await context.newPage()
  page.on('pageerror', (error) => errors.push(`${name}: ${error.message}`))
  return page
}

/** The text in the editor, without the others' cursors in it. */
function shown(page: Page): Promise<string> {
  return page.locator('.cm-line').evaluateAll((lines) =>
    lines
      .map((line) => {
        const copy = line.cloneNode(true) as Element
        for (const widget of copy.querySelectorAll('.cm-ySelectionCaret, .cm-placeholder')) widget.remove()
        // Word joiners around cursors are no text.
        return (copy.textContent ?? '').replaceAll('\u2060', '')
      })
      .join('\n'))
}

async function phaseIs(page: Page, phase: string): Promise<void> {
  await page.locator(`#phase[data-phase=${phase}]`).waitFor()
}

const read = (page: Page, id: string): Promise<string | null> => page.locator(`#${id}`).textContent()

async function picture(page: Page, name: string): Promise<void> {
  if (!SCREENSHOTS) return
  mkdirSync(SCREENSHOTS, { recursive: true })
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) })
}

/** Two people in one session, both on Ireland's relay. */
async function meet(errors: string[]): Promise<readonly [Page, Page]> {
  const [ada, ben] = [await person('Ada', errors), await person('Ben', errors)] as const
  const address = server.resolvedUrls!.local[0]!

  await ada.goto(`${address}?lobby=${encodeURIComponent(world.lobbyUrl)}`)
  await ada.locator(`#region option[value=${IRELAND.region}]`).waitFor({ state: 'attached' })
  await ada.fill('#name', 'Ada')
  await ada.selectOption('#region', IRELAND.region)
  await picture(ada, 'start')
  await ada.click('#create')
  await phaseIs(ada, 'connected')
  await ben.goto(ada.url())
  await ben.fill('#name', 'Ben')
  await ben.click('#join')
  await phaseIs(ben, 'connected')
  return [ada, ben]
}

/** Both write, and go on writing while their session goes to Finland's relay: every letter is there, once and in order. */
async function writeWhile(ada: Page, ben: Page, leave: () => void | Promise<void>): Promise<[string[], number]> {
  // Each writes on a line of their own, so that what must be there in the end is known to the letter.
  await ada.locator('.cm-content').click()
  await ada.keyboard.type('Ada: \nBen: ')
  await until('Ben sees it', async () => (await shown(ben)) === 'Ada: \nBen: ')
  await ada.keyboard.press('ArrowUp')
  await ada.keyboard.press('End')
  await ben.locator('.cm-content').click()
  await ben.keyboard.press('Control+End')

  const lines = ['Ada: ', 'Ben: ']
  const words = ['the quick brown fox jumps over the lazy dog.', 'pack my box with five dozen liquor jugs.'].map((text) => text.split(' '))
  let stop = false
  const write = async (page: Page, line: number): Promise<void> => {
    for (let n = 0; !stop; n++) {
      const word = `${words[line]![n % words[line]!.length]} `
      await page.keyboard.type(word, { delay: 30 })
      lines[line] += word
    }
  }
  const writing = Promise.all([write(ada, 0), write(ben, 1)])
  await until('both have begun', () => lines.every((line) => line.length > 36))
  await picture(ada, 'session')
  await leave()
  const begin = performance.now()
  const moved = async (page: Page): Promise<boolean> =>
    (await read(page, 'where')) === FINLAND.region && (await page.locator('#phase[data-phase=connected]').count()) === 1
  await until('both are on the other relay', async () => (await moved(ada)) && (await moved(ben)))
  const took = Math.round(performance.now() - begin)
  // And some more there.
  const there = lines.map(({ length }) => length)
  await until('both write on', () => lines.every(({ length }, n) => length > there[n]! + 12))
  stop = true
  await writing
  for (const page of [ada, ben]) {
    await until('all is there, once and in order', async () => (await shown(page)) === lines.join('\n')).catch(async (error) => {
      throw new Error(`${String(error)}\nwritten: ${JSON.stringify(lines)}\nshown: ${JSON.stringify(await shown(page))}`)
    })
    await until('both are listed again', async () => (await page.locator('#people li').count()) === 2)
  }
  await picture(ben, 'moved')
  return [lines, took]
}

test('a page of another origin measures each relay over one connection', async () => {
  const errors: string[] = []
  const page = await person('Eve', errors)
  await page.goto(server.resolvedUrls!.local[0]!)
  world.relay(IRELAND.region).line.delay(400)
  const source = readFileSync(new URL('../../../clients/browser/measure.js', import.meta.url), 'utf8')
  const [latencies, connections, probes] = await page.evaluate(async ([source, lobby]) => {
    const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))
    const { measure } = (await import(url)) as typeof import('../../../clients/browser/measure.js')
    const found = await measure(lobby, { soon: 60_000, late: 60_000 })
    // Relays let any page see these times, some of which are there a moment later.
    let probes: PerformanceResourceTiming[] = []
    for (let tries = 0; probes.length < 8 && tries < 100; tries++) {
      await new Promise((go) => setTimeout(go, 50))
      const entries = performance.getEntriesByType('resource') as PerformanceResourceTiming[]
      probes = entries.filter(({ name, requestStart }) => name.includes('/probe?') && requestStart > 0)
    }
    const opened = probes.filter((entry) => entry.connectEnd > entry.connectStart)
    return [found, opened.map((entry) => new URL(entry.name).origin), probes.length] as const
  }, [source, world.lobbyUrl] as const)
  world.relay(IRELAND.region).line.delay(0)
  assert.deepEqual(Object.keys(latencies).sort(), [IRELAND.region, FINLAND.region].sort())
  assert.ok(latencies[IRELAND.region]! >= 399 && latencies[FINLAND.region]! < latencies[IRELAND.region]!, JSON.stringify(latencies))
  assert.equal(new Set(connections).size, connections.length, 'no sample has the setting up of a connection in it')
  // One that was open in less than what the browser's clock tells apart is not among them.
  assert.ok(connections.length <= 2, connections.join())
  assert.equal(probes, 8, 'each relay is asked once for the connection, and three times')
  assert.deepEqual(errors, [])
})

test('two people go on writing while their session is moved', async (context) => {
  const errors: string[] = []
  const [ada, ben] = await meet(errors)
  const { session } = readLink(ada.url())!
  const [lines, took] = await writeWhile(ada, ben, () => world.move(session, FINLAND.region))
  context.diagnostic(`both were on the other relay ${took} ms after the session was moved; ${lines.join('').length} characters`)
  await ada.click('#close')
  for (const page of [ada, ben]) await phaseIs(page, 'ended')
  assert.deepEqual(errors, [])
})

test('two people write through a relay, and go on writing while it leaves', async (context) => {
  const errors: string[] = []
  const [ada, ben] = await meet(errors)
  for (const page of [ada, ben]) {
    assert.equal(await read(page, 'where'), IRELAND.region)
    assert.equal(await read(page, 'relay'), `${IRELAND.region}-0`)
    await until('the round trip is shown', async () => /^\d+\.\d ms/.test((await read(page, 'roundtrip')) ?? ''))
    await until('both are listed', async () => (await page.locator('#people li').count()) === 2)
  }
  assert.match((await read(ada, 'roundtrip')) ?? '', /\(expected \d+ ms\)$/, 'what the lobby had said')

  const leave = (): void => void world.relay(IRELAND.region).process.kill('SIGTERM')
  const [lines, took] = await writeWhile(ada, ben, leave)
  context.diagnostic(`both were on the other relay ${took} ms after the first was told to leave; ${lines.join('').length} characters`)

  // A reload: the text comes from the other, and the host is still its host.
  await ada.reload()
  await ada.fill('#name', 'Ada')
  await ada.click('#join')
  await until('the text is there again', async () => (await shown(ada)) === lines.join('\n'))
  await ada.click('#close')
  for (const page of [ada, ben]) {
    await phaseIs(page, 'ended')
    assert.equal(await read(page, 'phase'), 'session closed')
  }
  assert.deepEqual(errors, [])
})

test('what cannot be done is said', async () => {
  const errors: string[] = []
  const page = await person('Eve', errors)
  await page.goto(server.resolvedUrls!.local[0]!)
  await page.fill('#name', 'Eve')
  for (const [field, text, button, problem] of [
    ['#lobby', '', '#create', 'Lobby: give the address of a lobby'],
    ['#lobby', 'http://127.0.0.1:9', '#create', 'the lobby at http://127.0.0.1:9 does not answer'],
    ['#link', 'https://app.example.com/', '#join', 'Link: this is no link to a session'],
  ] as const) {
    await page.fill(field, text)
    await page.click(button)
    await until(problem, async () => (await read(page, 'problem'))?.startsWith(problem))
    await page.fill(field, '')
  }
  // A link whose key is wrong: the lobby refuses, and the page does not go on asking.
  await page.fill('#link', `${world.lobbyUrl}/j/none#wrong`)
  await page.click('#join')
  await phaseIs(page, 'ended')
  assert.match((await read(page, 'phase')) ?? '', /^the lobby refuses: not allowed/)
  assert.deepEqual(errors, [])
})
