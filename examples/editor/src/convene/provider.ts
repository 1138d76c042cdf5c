// A y-websocket provider, as it is, that finds its relay through a lobby.
//
// A token is good for one connection, and a session may move to another relay: so before each connection the lobby is
// asked for a fresh URL and token. Closes with a code from 4400 to 4499 are final; every other end is a reason to ask
// again, which is how a session survives a relay that leaves or dies.

import { Awareness } from 'y-protocols/awareness'
import { WebsocketProvider } from 'y-websocket'
import type * as Y from 'yjs'

import { type Connect, type Credential, type Joined, type Lobby, LobbyError, type Region } from './lobby.ts'
import { measure, probeUrl } from './roundtrip.ts'
import { syncWithPeers } from './sync.ts'

/** Subprotocol of broadcast mode. */
const BROADCAST = 'convene.broadcast'
/** An offered subprotocol that starts so carries the token; in a URL it would end up in logs on the way. */
const TOKEN_PREFIX = 'convene.token.'
/** Close code: a message was above the relay's limit. The same message would be again. */
const TOO_BIG = 1009

/** Milliseconds between questions to the others whether something was missed. */
const RESYNC_MS = 10_000
/** Shortest and longest pause before the lobby is asked again, in milliseconds. */
const PAUSE_MS = { first: 250, longest: 2_500 }
/** A connection that held for so long was a good one: the next pause is the shortest again. */
const GOOD_AFTER_MS = 5_000
/** Milliseconds between looks at the connection. */
const LOOK_MS = 2_000
/** With nothing heard for so long, the relay itself is asked; without an answer the connection is given up. */
const QUIET_MS = 4_000
/** Age at which a measured round trip is measured again also where much is heard. */
const MEASURE_MS = 15_000
/** Age at which the lobby is asked again where to measure. What it says holds for two minutes and a half at least. */
const LISTED_MS = 120_000
/** Who is alone hears nothing; while the relay answers that is believed for so long, then a new connection is made. */
const ALONE_MS = 300_000

/** Where a provider stands. */
export type Phase =
  /** Asks the lobby for a pass. */
  | 'joining'
  /** Has a pass and connects with it. */
  | 'connecting'
  | 'connected'
  /** Will ask the lobby again in a moment. */
  | 'waiting'
  /** Has given up: the session is over, or it may not take part. */
  | 'ended'

/** What there is to know of a provider. */
export interface State {
  phase: Phase
  /** Why it waits or has ended, in words. */
  why: string
  region: string | undefined
  relay: string | undefined
  /** Raised by each move of the session. */
  epoch: number | undefined
  /** Last measured round trip to the relay, in milliseconds. */
  roundTripMs: number | undefined
  /** Connections that stood so far. */
  connections: number
}

export interface Options {
  /** The answer that created the session, to connect with its pass instead of asking for another. */
  joined?: Joined
  awareness?: Awareness
  /** Whether to ask back and tell at once what was missed (see sync.ts), instead of with the next resync. */
  syncWithPeers?: boolean
  resyncMs?: number
  onState?: (state: State) => void
}

export class SessionProvider {
  /** The provider. Its `url`, `protocols` and `shouldConnect` are ours; all else is as ever. */
  readonly provider: WebsocketProvider
  readonly #lobby: Lobby
  readonly #session: string
  /** Of the session when it was last joined. */
  #epoch: number | undefined
  readonly #credential: Credential
  readonly #onState: (state: State) => void
  readonly #stop = new AbortController()
  readonly #undoSync: () => void
  readonly #looking: ReturnType<typeof setInterval>
  #timer: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  #connectedAt = 0
  #heardAt = 0
  #measuredAt = 0
  #measuring = false
  #listed: Region[] = []
  #listedAt = 0
  /** Whether a measurement ever succeeded. */
  #measurable = false
  #state: State = {
    phase: 'joining', why: '', region: undefined, relay: undefined, epoch: undefined, roundTripMs: undefined, connections: 0,
  }

  constructor(lobby: Lobby, session: string, credential: Credential, doc: Y.Doc, options: Options = {}) {
    this.#lobby = lobby
    this.#session = session
    this.#credential = credential
    this.#onState = options.onState ?? (() => {})
    this.provider = new WebsocketProvider('ws://unknown.invalid', session, doc, {
      connect: false,
      awareness: options.awareness ?? new Awareness(doc),
      resyncInterval: options.resyncMs ?? RESYNC_MS,
      // Tabs of one browser meet in the session like everybody else: its channel for them is named after a URL that
      // changes with each move.
      disableBc: true,
    })
    this.#undoSync = options.syncWithPeers === false ? () => {} : syncWithPeers(this.provider)
    this.provider.on('connection-close', (event) => this.#closed(event))
    this.provider.on('status', ({ status }) => {
      if (status === 'connected') this.#connected()
    })
    this.#looking = setInterval(() => void this.#look(), LOOK_MS)
    if (options.joined) this.#connect(options.joined)
    else void this.#join()
  }

  get state(): Readonly<State> {
    return this.#state
  }

  /** Leaves the session for good. */
  destroy(): void {
    this.#stop.abort()
    clearTimeout(this.#timer)
    clearInterval(this.#looking)
    // First, so that the others are told that we leave.
    this.provider.destroy()
    this.#undoSync()
    this.provider.awareness.destroy()
  }

  async #join(): Promise<void> {
    this.#set({ phase: 'joining' })
    let joined: Joined
    try {
      joined = await this.#lobby.join(this.#session, this.#credential, this.#epoch, this.#stop.signal)
      this.#epoch = joined.session.epoch
    } catch (error) {
      if (this.#stop.signal.aborted) return
      if (error instanceof LobbyError && error.final) this.#end(`the lobby refuses: ${error.message}`)
      else this.#comeBack(String(error instanceof Error ? error.message : error), error instanceof LobbyError ? error.retryAfterMs : 0)
      return
    }
    if (!this.#stop.signal.aborted) this.#connect(joined)
  }

  #connect({ session, connect }: Joined): void {
    const { region, relay, epoch } = session
    const moved = relay !== this.#state.relay
    this.#set({ phase: 'connecting', why: '', region, relay, epoch, ...(moved && { roundTripMs: undefined }) })
    this.#aim(connect)
    this.#listedAt = 0
    this.#list()
    this.provider.connect()
  }

  /** Points the provider at a pass. It reads these fields for each connection. */
  #aim({ url, token }: Connect): void {
    const slash = url.lastIndexOf('/')
    this.provider.serverUrl = url.slice(0, slash)
    this.provider.roomname = url.slice(slash + 1)
    this.provider.protocols = [BROADCAST, TOKEN_PREFIX + token]
  }

  #connected(): void {
    this.#connectedAt = Date.now()
    this.#heardAt = Date.now()
    this.#measuredAt = 0
    const { ws } = this.provider
    // Added beside the provider's own handler, which is a property.
    ws?.addEventListener('message', () => (this.#heardAt = Date.now()))
    this.#set({ phase: 'connected', why: '', connections: this.#state.connections + 1 })
    void this.#look()
  }

  /** The provider has lost its connection, or never got it; `event` is null where it closed it by itself. */
  #closed(event: CloseEvent | null): void {
    // Somebody called `disconnect()`.
    if (!this.provider.shouldConnect) return
    // It would come back with the URL and the token that it had.
    this.provider.shouldConnect = false
    if (this.#connectedAt > 0 && Date.now() - this.#connectedAt > GOOD_AFTER_MS) this.#failures = 0
    this.#connectedAt = 0
    const code = event?.code ?? 0
    const why = event?.reason || (event === null ? 'silent' : 'connection lost')
    if (code >= 4400 && code < 4500) this.#end(why)
    else if (code === TOO_BIG) this.#end(`${why}: the text, or a change to it, is above the relay's limit`)
    else this.#comeBack(why)
  }

  /** Asks the lobby again, later each time, and not in step with the others that lost the same relay. */
  #comeBack(why: string, atLeastMs = 0): void {
    const longest = Math.min(PAUSE_MS.first * 2 ** this.#failures, PAUSE_MS.longest)
    this.#failures++
    this.#set({ phase: 'waiting', why })
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#join(), Math.max(atLeastMs, longest * Math.random()))
  }

  #end(why: string): void {
    clearInterval(this.#looking)
    this.#set({ phase: 'ended', why, roundTripMs: undefined })
  }

  /** Measures the round trip now and then, and judges by it a connection on which nothing is heard. */
  async #look(): Promise<void> {
    const { provider } = this
    const { ws } = provider
    const now = Date.now()
    const quiet = now - Math.max(this.#heardAt, this.#measuredAt) > QUIET_MS
    if (this.#measuring || !provider.wsconnected || (!quiet && now - this.#measuredAt < MEASURE_MS)) return
    this.#measuring = true
    this.#list()
    const url = probeUrl(`${provider.serverUrl}/${provider.roomname}`, this.#listed)
    const roundTripMs = await measure(url, this.#stop.signal)
    this.#measuring = false
    // Meanwhile it may be another connection, or none.
    if (this.#stop.signal.aborted || !provider.wsconnected || provider.ws !== ws) return
    const silentMs = Date.now() - this.#heardAt
    if (roundTripMs === undefined) {
      // Where no measurement ever succeeds, something forbids them, and they prove nothing.
      if (this.#measurable && silentMs > QUIET_MS) this.#giveUp()
      return
    }
    this.#measuredAt = Date.now()
    this.#measurable = true
    this.#set({ roundTripMs })
    // The provider takes half a minute of silence for a dead connection; who is alone would be cut each time.
    const alone = provider.awareness.getStates().size <= 1
    if (alone && silentMs < ALONE_MS) provider.wsLastMessageReceived = Date.now()
  }

  /** Asks for the lobby's regions, before their probes expire. Nobody waits for that: without one the relay still answers. */
  #list(): void {
    if (Date.now() - this.#listedAt < LISTED_MS) return
    this.#listedAt = Date.now()
    this.#lobby.regions(this.#stop.signal).then((regions) => (this.#listed = regions), () => {})
  }

  #giveUp(): void {
    this.provider.disconnect()
    this.#connectedAt = 0
    this.#comeBack('silent')
  }

  #set(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change }
    this.#onState(this.#state)
  }
}
