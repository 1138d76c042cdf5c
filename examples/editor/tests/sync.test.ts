// Documents converge: over a real lobby and real relays, without a browser.

import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { WebSocket } from 'ws'
import type { Awareness } from 'y-protocols/awareness'
import { messageAwareness } from 'y-websocket'
import * as Y from 'yjs'

import { type Created, Lobby } from '../src/convene/lobby.ts'
import { type Options, SessionProvider } from '../src/convene/provider.ts'
import { FINLAND, IRELAND, World, until } from './world.ts'

// As in a browser; Node has it from version 22 on.
globalThis.WebSocket ??= WebSocket as unknown as typeof globalThis.WebSocket

/** One who edits. */
class Editor {
  readonly doc = new Y.Doc()
  readonly text = this.doc.getText('text')
  readonly session: SessionProvider

  constructor(lobby: Lobby, created: Created, options: Options = {}) {
    const credential = options.joined ? { hostToken: created.hostToken } : { joinKey: created.joinKey }
    this.session = new SessionProvider(lobby, created.session.id, credential, this.doc, options)
  }

  write(text: string): void {
    this.text.insert(this.text.length, text)
  }

  get says(): string {
    return this.text.toString()
  }

  get connected(): boolean {
    return this.session.state.phase === 'connected'
  }
}

describe('an editor over Convene', { concurrency: false }, () => {
  let world: World
  let lobby: Lobby
  let editors: Editor[] = []

  before(async () => {
    world = await World.start([IRELAND, FINLAND])
    lobby = new Lobby(world.lobbyUrl)
  })
  afterEach(() => {
    for (const { session } of editors) session.destroy()
    editors = []
  })
  after(() => world.stop())

  /** A session in `region` with its host and so many guests, all connected. */
  async function meet(region: string, guests: number, options: Options = {}): Promise<Editor[]> {
    const created = await lobby.create(region)
    assert.equal(created.session.region, region)
    editors.push(new Editor(lobby, created, { ...options, joined: created }))
    for (let n = 0; n < guests; n++) editors.push(new Editor(lobby, created, options))
    await until('all are connected', () => editors.every(({ connected }) => connected))
    return editors
  }

  /** Waits until all say the same, with all of `words` in it, each once; returns the milliseconds that it took. */
  async function agree(words: string[]): Promise<number> {
    const begin = performance.now()
    await until('all say the same', () => {
      const [first] = editors
      return words.every((word) => first!.says.includes(word)) && editors.every(({ says }) => says === first!.says)
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(editors.map(({ says }) => says))}\n${world.log}`)
    })
    for (const word of words) assert.equal(editors[0]!.says.split(word).length, 2, `${word} is there once`)
    return Math.round(performance.now() - begin)
  }

  const apart = (region: string): Promise<unknown> => {
    world.relay(region).line.cut()
    return until('all are apart', () => editors.every(({ connected }) => !connected))
  }

  // No resync in the time of the test: what arrives, arrives because members ask back.
  for (const [name, options] of [
    ['with the wrapper asking back', { resyncMs: 3_600_000 }],
    ['with resyncInterval alone, everything else of the provider untouched', { resyncMs: 500, syncWithPeers: false }],
  ] as const) {
    test(`what both sides write and delete while apart is there for both, ${name}`, async (context) => {
      const [one, other] = (await meet(IRELAND.region, 1, options)) as [Editor, Editor]
      one.write('together-1 gone-1 ')
      other.write('together-2 gone-2 ')
      await agree(['together-1', 'together-2', 'gone-1', 'gone-2'])
      await apart(IRELAND.region)
      one.write('apart-1 ')
      other.write('apart-2 ')
      const gone = one.says.indexOf('gone-1')
      one.text.delete(gone, 'gone-1'.length)
      world.relay(IRELAND.region).line.mend()
      const took = await agree(['together-1', 'together-2', 'apart-1', 'apart-2'])
      await until('the deletion is known to both', () => editors.every(({ says }) => !says.includes('gone-1')))
      assert.ok(other.says.includes('gone-2'))
      context.diagnostic(`the same again ${took} ms after the line was mended`)
    })
  }

  test('one who only deleted while away, and one who came first, are heard too', async () => {
    const created = await lobby.create(IRELAND.region)
    const options = { resyncMs: 3_600_000 }
    const first = new Editor(lobby, created, { ...options, joined: created })
    editors.push(first)
    first.write('kept dropped')
    await until('the first is there', () => first.connected)
    const second = new Editor(lobby, created, options)
    editors.push(second)
    second.write('second ')
    await agree(['kept', 'dropped', 'second'])
    // Only the first loses its line; the other stays, so it has no reason of its own to ask.
    const { ws } = first.session.provider
    ws?.close()
    first.text.delete(first.says.indexOf('dropped'), 'dropped'.length)
    await until('the deletion is known to both', () => editors.every(({ says }) => !says.includes('dropped')))
    await agree(['kept', 'second'])
  })

  test('cursors are shown again at once after a lost connection, and each movement is sent once', async () => {
    const [one, watcher, bystander] = (await meet(IRELAND.region, 2)) as [Editor, Editor, Editor]
    const awareness = (editor: Editor): Awareness => editor.session.provider.awareness
    for (const [n, editor] of editors.entries()) {
      // The library repeats its own state every fifteen seconds: here that would hide what is missing.
      clearInterval(awareness(editor)._checkInterval)
      awareness(editor).setLocalStateField('name', `editor-${n}`)
    }
    const names = (editor: Editor): string => [...awareness(editor).getStates().values()].map(({ name }) => String(name)).sort().join()
    const everybody = (): boolean => editors.every((editor) => names(editor) === 'editor-0,editor-1,editor-2')
    await until('all see all', everybody)
    one.session.provider.ws?.close()
    await until('one was away and is back', () => one.session.state.connections === 2)
    await until('all see all again', everybody)
    // One leaves by itself, which the others are told, and comes back: first with the token that it had, in vain.
    one.session.provider.disconnect()
    await until('the others see it leave', () => [watcher, bystander].every((editor) => names(editor) === 'editor-1,editor-2'))
    one.session.provider.connect()
    await until('all see all once more', everybody)

    // Whoever has heard a word of another has heard, and answered, all that stood before it. So after these two, no
    // answer to the greetings is on its way any more.
    one.write('fence-1 ')
    await agree(['fence-1'])
    bystander.write('fence-2 ')
    await agree(['fence-2'])
    let cursors = 0
    const count = ({ data }: MessageEvent): void => void (cursors += new Uint8Array(data as ArrayBuffer)[0] === messageAwareness ? 1 : 0)
    watcher.session.provider.ws!.addEventListener('message', count)
    awareness(one).setLocalStateField('name', 'moved')
    await until('it is seen', () => [watcher, bystander].every((editor) => names(editor).includes('moved')))
    // Had the bystander repeated it, that would stand before this word.
    bystander.write('fence-3 ')
    await agree(['fence-3'])
    assert.equal(cursors, 1)
  })

  test('the page is told how far it is', async () => {
    const [one] = (await meet(IRELAND.region, 0)) as [Editor]
    const roundTrip = await until('a measurement', () => one.session.state.roundTripMs)
    assert.ok(roundTrip > 0)
    assert.equal(one.session.state.relay, `${IRELAND.region}-0`)
  })

  test('a message above the limit of the relay ends it for its sender, who is told why', async () => {
    const [one, other] = (await meet(IRELAND.region, 1)) as [Editor, Editor]
    one.write('x'.repeat(2 * 1024 * 1024))
    await until('it is over', () => one.session.state.phase === 'ended')
    assert.match(one.session.state.why, /above the relay's limit/)
    assert.ok(other.connected)
    assert.equal(one.session.state.connections, 1, 'the same message would be too big again')
  })

  test('a closed session is over for everybody, and nobody comes back', async () => {
    const created = await lobby.create(IRELAND.region)
    editors.push(new Editor(lobby, created, { joined: created }), new Editor(lobby, created))
    await until('both are connected', () => editors.every(({ connected }) => connected))
    await lobby.close(created.session.id, created.hostToken)
    await until('it is over for both', () => editors.every(({ session }) => session.state.phase === 'ended'))
    for (const { session } of editors) {
      assert.equal(session.state.why, 'session closed')
      assert.equal(session.provider.shouldConnect, false)
      assert.equal(session.state.connections, 1)
    }
    // Who comes later is refused by the lobby, for good as well.
    const late = new Editor(lobby, created)
    editors.push(late)
    await until('it is over for who is late', () => late.session.state.phase === 'ended')
    assert.match(late.session.state.why, /the lobby refuses/)
  })
})

describe('a relay that goes', { concurrency: true }, () => {
  const ways: [string, (world: World) => void][] = [
    ['is told to leave', (world) => void world.relay(IRELAND.region).process.kill('SIGTERM')],
    ['is killed', (world) => void world.relay(IRELAND.region).process.kill('SIGKILL')],
    [
      'falls silent',
      (world) => {
        world.relay(IRELAND.region).line.freeze()
        // To its lobby it is silent too.
        world.relay(IRELAND.region).process.kill('SIGSTOP')
      },
    ],
  ]
  for (const [name, go] of ways) {
    test(`and ${name}: the session goes on elsewhere, with what was written meanwhile`, async (context) => {
      const world = await World.start([IRELAND, FINLAND])
      const lobby = new Lobby(world.lobbyUrl)
      const created = await lobby.create(IRELAND.region)
      const options = { resyncMs: 3_600_000 }
      const one = new Editor(lobby, created, { ...options, joined: created })
      const other = new Editor(lobby, created, options)
      const both = [one, other]
      context.after(async () => {
        for (const { session } of both) session.destroy()
        await world.stop()
      })
      // Silence is judged by the round trip, once one is known.
      await until('both are connected', () =>
        both.every(({ connected, session: { state } }) => connected && state.roundTripMs !== undefined))
      one.write('before ')
      await until('it is there', () => other.says === 'before ')
      const begin = performance.now()
      go(world)
      one.write('one ')
      other.write('other ')
      await until('both are in Finland', () =>
        both.every(({ connected, session: { state } }) => connected && state.region === FINLAND.region))
      const moved = Math.round(performance.now() - begin)
      await until('both say the same', () => one.says === other.says && one.says.length === 'before one other '.length)
      assert.deepEqual(one.says.trim().split(' ').sort(), ['before', 'one', 'other'])
      assert.ok(both.every(({ session: { state } }) => state.epoch! >= 2))
      context.diagnostic(`both were on the other relay after ${moved} ms, and said the same after ${Math.round(performance.now() - begin)} ms`)
    })
  }
})
