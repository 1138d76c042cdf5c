// The page: create or join a session, then edit in it. What goes over the network stands in convene/.

import { Awareness } from 'y-protocols/awareness'
import * as Y from 'yjs'

import { pageLink, readLink } from './convene/links.ts'
import { type Credential, type Joined, Lobby, type RankedPool } from './convene/lobby.ts'
import { SessionProvider, type State } from './convene/provider.ts'
import { showEditor } from './editor.ts'

/** Colours of people; white letters are readable on each. */
const COLOURS = ['#0b6bcb', '#a3338d', '#1a7f4b', '#a05e03', '#b3261e', '#5b4bc4', '#0a7585', '#6b6b00']

const WORDS: Record<State['phase'], string> = {
  joining: 'joining…',
  connecting: 'connecting…',
  connected: 'connected',
  waiting: 'coming back…',
  ended: 'ended',
}

/** A session as this page enters it. */
interface Entry {
  lobby: Lobby
  session: string
  joinKey: string
  /** Only its host has it. */
  hostToken?: string
  joined?: Joined
  /** What the lobby said when it chose the place. */
  chosen?: RankedPool
}

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id)
  if (!found) throw new Error(`the page has no #${id}`)
  return found as T
}

const form = element<HTMLFormElement>('form')
const name = element<HTMLInputElement>('name')
const lobbyUrl = element<HTMLInputElement>('lobby')
const region = element<HTMLSelectElement>('region')
const link = element<HTMLInputElement>('link')

// --- The first screen.

function start(): void {
  name.value = localStorage.getItem('name') ?? ''
  lobbyUrl.value = new URLSearchParams(location.search).get('lobby') ?? localStorage.getItem('lobby') ?? ''
  link.value = location.hash.length > 1 ? location.href : ''
  lobbyUrl.addEventListener('change', () => void showRegions())
  void showRegions()
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const joins = event.submitter?.id === 'join' || (event.submitter === null && link.value !== '')
    void enter(joins)
  })
  element('start').hidden = false
  name.focus()
}

/** Fills the list of places, as far as there is a lobby to ask. */
async function showRegions(): Promise<void> {
  let regions: string[] = []
  try {
    if (lobbyUrl.value !== '') regions = (await new Lobby(lobbyUrl.value).regions()).map(({ region }) => region)
  } catch {
    // Whoever creates a session there is told.
  }
  region.replaceChildren(new Option('anywhere', ''), ...regions.map((name) => new Option(name, name)))
}

async function enter(joins: boolean): Promise<void> {
  const problem = element('problem')
  const buttons = form.querySelectorAll('button')
  problem.textContent = ''
  for (const button of buttons) button.disabled = true
  try {
    const entry = joins ? invited(link.value) : await created()
    localStorage.setItem('name', name.value)
    localStorage.setItem('lobby', entry.lobby.url)
    show(entry, name.value)
  } catch (error) {
    problem.textContent = error instanceof Error ? error.message : String(error)
  } finally {
    for (const button of buttons) button.disabled = false
  }
}

async function created(): Promise<Entry> {
  if (lobbyUrl.value === '') throw new Error('Lobby: give the address of a lobby, such as https://lobby.example.com')
  const lobby = new Lobby(lobbyUrl.value)
  const joined = await lobby.create(region.value || undefined)
  const { session, joinKey, hostToken, ranking } = joined
  sessionStorage.setItem(session.id, hostToken)
  const chosen = ranking.find((pool) => pool.region === session.region)
  return { lobby, session: session.id, joinKey, hostToken, joined, ...(chosen && { chosen }) }
}

function invited(text: string): Entry {
  const invitation = readLink(text)
  if (!invitation) throw new Error('Link: this is no link to a session; ask its host for a whole one')
  // The host's own page after a reload.
  const hostToken = sessionStorage.getItem(invitation.session)
  return { ...invitation, lobby: new Lobby(invitation.lobby), ...(hostToken !== null && { hostToken }) }
}

// --- The session.

function show(entry: Entry, user: string): void {
  const { lobby, session, joinKey, hostToken } = entry
  const invitation = pageLink(location.href, { lobby: lobby.url, session, joinKey })
  history.replaceState(null, '', invitation)
  element('start').hidden = true
  element('session').hidden = false

  const doc = new Y.Doc()
  const awareness = new Awareness(doc)
  const color = COLOURS[doc.clientID % COLOURS.length]!
  awareness.setLocalStateField('user', { name: user, color, colorLight: `${color}33` })
  awareness.on('change', () => showPeople(awareness))
  showPeople(awareness)
  showEditor(element('editor'), doc.getText('text'), awareness)

  const credential: Credential = hostToken === undefined ? { joinKey } : { hostToken }
  const provider = new SessionProvider(lobby, session, credential, doc, {
    awareness,
    onState: (state) => showState(state, entry.chosen),
    ...(entry.joined && { joined: entry.joined }),
  })
  addEventListener('pagehide', () => provider.destroy())

  const copy = element<HTMLButtonElement>('copy')
  copy.addEventListener('click', () => {
    void navigator.clipboard.writeText(invitation).then(() => (copy.textContent = 'Copied'))
  })
  const close = element<HTMLButtonElement>('close')
  close.hidden = hostToken === undefined
  close.addEventListener('click', () => {
    close.disabled = true
    // Everybody's page is told by the relay, this one too.
    lobby.close(session, hostToken!).catch((error: unknown) => {
      close.disabled = false
      element('phase').title = String(error)
    })
  })
}

function showState({ phase, why, region, relay, roundTripMs }: State, chosen: RankedPool | undefined): void {
  const shown = element('phase')
  shown.dataset['phase'] = phase
  shown.textContent = phase === 'ended' && why !== '' ? why : WORDS[phase]
  shown.title = why
  element('where').textContent = region ?? '…'
  element('relay').textContent = relay ?? '…'
  const roundTrip = element('roundtrip')
  roundTrip.textContent = roundTripMs === undefined ? '…' : `${roundTripMs.toFixed(1)} ms`
  // What the lobby expected from where this client said that it is; only whoever created the session was told.
  if (chosen?.estimateMs !== undefined && chosen.region === region) {
    const expected = document.createElement('small')
    expected.textContent = ` (expected ${chosen.estimateMs.toFixed(0)} ms)`
    roundTrip.append(expected)
  }
}

function showPeople(awareness: Awareness): void {
  const people = [...awareness.getStates()].flatMap(([client, { user }]) => {
    if (!user) return []
    const shown = document.createElement('li')
    const { name, color } = user as { name: unknown; color: unknown }
    shown.textContent = String(name).slice(0, 40) + (client === awareness.clientID ? ' (you)' : '')
    shown.style.background = COLOURS.find((known) => known === color) ?? '#555'
    return shown
  })
  element('people').replaceChildren(...people)
}

start()
