// A lobby and relays as processes on loopback, with what a cluster would give them: keys, a relay table, and pods whose
// service-account tokens are signed by a key made here. Between clients and each relay stands a line that can be cut.

import { type ChildProcess, spawn } from 'node:child_process'
import { type KeyObject, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { fileURLToPath } from 'node:url'

/** How long anything may take; generous, since the machine may be busy. */
export const PATIENCE_MS = 60_000
const LOBBY_UID = 'lobby-of-the-editor'
const ISSUER = 'https://kubernetes.default.svc'

/** The program: as named, or where cargo puts it. */
const CONVENE =
  process.env['CONVENE_BIN'] ??
  join(process.env['CARGO_TARGET_DIR'] ?? fileURLToPath(new URL('../../../target', import.meta.url)), 'debug/convene')

/** Processes that run; none outlives this one. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Waits until something holds; fails with what was waited for. */
export async function until<T>(what: string, check: () => T | Promise<T>): Promise<NonNullable<T>> {
  const end = Date.now() + PATIENCE_MS
  for (;;) {
    const got = await check()
    if (got) return got
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS / 1000} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** A TCP port of loopback that forwards to another, and can be cut or frozen. */
export class Line {
  readonly #server: Server
  readonly #open = new Set<Socket>()
  readonly #frozen = new Set<Socket>()
  #cut = false
  #delayMs = 0

  private constructor(server: Server) {
    this.#server = server
  }

  static async to(port: number): Promise<Line> {
    const server = createServer()
    const line = new Line(server)
    server.on('connection', (near) => line.#forward(near, port))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return line
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Ends every connection, and each new one at once. */
  cut(): void {
    this.#cut = true
    for (const socket of this.#open) socket.destroy()
  }

  /** What comes back over new connections comes so much later. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  /** Lets new connections through again. */
  mend(): void {
    this.#cut = false
  }

  /** Says nothing any more on the connections that are open, and nothing on new ones: nobody is told. */
  freeze(): void {
    for (const socket of this.#open) {
      socket.unpipe()
      socket.pause()
      this.#frozen.add(socket)
    }
    this.#server.removeAllListeners('connection')
    this.#server.on('connection', (near) => {
      this.#track(near)
      near.pause()
    })
  }

  close(): void {
    this.cut()
    this.#server.close()
  }

  #track(socket: Socket): void {
    this.#open.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#open.delete(socket))
  }

  #forward(near: Socket, port: number): void {
    if (this.#cut) {
      near.destroy()
      return
    }
    const far = connect(port, '127.0.0.1')
    for (const [one, other] of [[near, far], [far, near]] as const) {
      one.setNoDelay(true)
      this.#track(one)
      if (one === far && this.#delayMs > 0) one.pipe(late(this.#delayMs)).pipe(other)
      else one.pipe(other)
      one.on('close', () => this.#frozen.has(one) || other.destroy())
    }
  }
}

/** Passes on what it is given, in order, each so much later. */
function late(ms: number): Transform {
  return new Transform({ transform: (chunk, _, done) => void setTimeout(() => done(null, chunk), ms) })
}

/** One relay: its process, and the line to it. */
export interface Relay {
  name: string
  region: string
  podUid: string
  port: number
  line: Line
  process: ChildProcess
}

/** A place for a relay. */
export interface Place {
  region: string
  latitude: number
  longitude: number
}

export const IRELAND: Place = { region: 'eu-west-1', latitude: 53.35, longitude: -6.26 }
export const FINLAND: Place = { region: 'europe-north1', latitude: 60.57, longitude: 27.2 }

export class World {
  readonly folder = mkdtempSync(join(tmpdir(), 'convene-editor-'))
  readonly relays: Relay[] = []
  lobbyUrl = ''
  readonly #cluster = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  readonly #admin = randomUUID()
  readonly #processes: ChildProcess[] = []
  readonly #log: string[] = []

  /** A lobby and one relay in each of `places`, all linked. */
  static async start(places: Place[]): Promise<World> {
    if (!existsSync(CONVENE)) throw new Error(`there is no program ${CONVENE}: run \`cargo build\`, or name it in CONVENE_BIN`)
    for (let attempt = 1; ; attempt++) {
      const world = new World()
      try {
        await world.#start(places)
        return world
      } catch (error) {
        const { log } = world
        await world.stop()
        // Ports are reserved before the processes open them, and in between another program may.
        if (attempt === 3 || !log.includes('Address already in use')) {
          throw new Error(`the lobby and its relays do not start: ${String(error)}\n${log}`)
        }
      }
    }
  }

  /** What all processes said. */
  get log(): string {
    return this.#log.join('')
  }

  relay(region: string): Relay {
    const relay = this.relays.find((relay) => relay.region === region)
    if (!relay) throw new Error(`there is no relay in ${region}`)
    return relay
  }

  /** Moves a session to a region, as the lobby's admin does. */
  async move(session: string, region: string): Promise<void> {
    const headers = { authorization: `Bearer ${this.#admin}`, 'content-type': 'application/json' }
    const url = `${this.lobbyUrl}/v1/sessions/${session}/move`
    const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ region }) })
    if (!answer.ok) throw new Error(`the lobby does not move the session: ${answer.status} ${await answer.text()}`)
  }

  /** Ends all processes; no file stays. */
  async stop(): Promise<void> {
    for (const { line } of this.relays) line.close()
    const open = this.#processes.filter((child) => running.has(child))
    const ends = open.map((child) => once(child, 'exit'))
    for (const child of open) child.kill('SIGKILL')
    await Promise.all(ends)
    rmSync(this.folder, { recursive: true, force: true })
  }

  async #start(places: Place[]): Promise<void> {
    const [lobbyPort, ...relayPorts] = await freePorts(1 + places.length)
    this.lobbyUrl = `http://127.0.0.1:${lobbyPort}`
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.#write('signing-key.pem', key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
    this.#write('admin-token', this.#admin)
    const lines = await Promise.all(relayPorts.map((port) => Line.to(port)))
    const entry = (place: Place, n: number): object => {
      const name = `${place.region}-0`
      const relay = { name, podUid: `uid-${name}`, url: `ws://127.0.0.1:${lines[n]!.port}`, capacity: 10, cordoned: false }
      return { namespace: 'default', name: place.region, ...place, relays: [relay] }
    }
    const jwk = { ...this.#cluster.publicKey.export({ format: 'jwk' }), kid: 'cluster', alg: 'ES256' }
    const cluster = { issuer: ISSUER, jwks: { keys: [jwk] } }
    this.#write('relays.json', JSON.stringify({ lobbyUid: LOBBY_UID, url: '', cluster, pools: places.map(entry) }))
    this.#run(['lobby'], {
      CONVENE_LISTEN: `127.0.0.1:${lobbyPort}`,
      CONVENE_KEYS_DIR: this.folder,
      CONVENE_TABLE_FILE: join(this.folder, 'relays.json'),
    })
    const jwks = await until('the lobby answers', () => this.#alive() && text(`${this.lobbyUrl}/v1/jwks.json`))
    this.#write('jwks.json', jwks)
    for (const [n, { region }] of places.entries()) this.#startRelay(`${region}-0`, region, relayPorts[n]!, lines[n]!)
    await until('all relays serve', async () => {
      this.#alive()
      const regions = JSON.parse((await text(`${this.lobbyUrl}/v1/regions`)) ?? '[]') as { freeSeats: number }[]
      return regions.length === places.length && regions.every(({ freeSeats }) => freeSeats > 0)
    })
  }

  /** Fails once a process has ended by itself. */
  #alive(): true {
    const ended = this.#processes.find((child) => child.exitCode !== null || child.signalCode !== null)
    if (ended) throw new Error(`${ended.spawnargs.join(' ')} ended (${ended.exitCode ?? ended.signalCode})`)
    return true
  }

  #startRelay(name: string, region: string, port: number, line: Line): void {
    const podUid = `uid-${name}`
    this.#write(`token-${name}`, podToken(this.#cluster.privateKey, name, podUid))
    const process = this.#run(['relay'], {
      CONVENE_LISTEN: `127.0.0.1:${port}`,
      CONVENE_LOBBY_URL: this.lobbyUrl,
      CONVENE_LOBBY_UID: LOBBY_UID,
      CONVENE_POD_UID: podUid,
      CONVENE_IDENTITY_FILE: join(this.folder, `token-${name}`),
      CONVENE_JWKS_FILE: join(this.folder, 'jwks.json'),
      CONVENE_DRAIN_SECONDS: '3',
    })
    this.relays.push({ name, region, podUid, port, line, process })
  }

  #run(args: string[], settings: Record<string, string>): ChildProcess {
    const env = {
      ...process.env,
      CONVENE_HEALTH_LISTEN: '127.0.0.1:0',
      CONVENE_CONTROL_LISTEN: '127.0.0.1:0',
      ...settings,
    }
    const child = spawn(CONVENE, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr!.setEncoding('utf8').on('data', (said: string) => this.#log.push(said))
    child.on('error', (error) => this.#log.push(`${CONVENE}: ${error.message}\n`))
    this.#processes.push(child)
    running.add(child)
    child.on('exit', () => running.delete(child))
    return child
  }

  #write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text)
  }
}

/** A projected service-account token of a pod, for the lobby. */
function podToken(key: KeyObject, pod: string, uid: string): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: ISSUER, sub: 'system:serviceaccount:default:relay', aud: [LOBBY_UID], iat: now, nbf: now, exp: now + 3600,
    'kubernetes.io': { namespace: 'default', pod: { name: pod, uid }, serviceaccount: { name: 'relay', uid: 'sa' } },
  }
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg: 'ES256', typ: 'JWT', kid: 'cluster' })}.${part(claims)}`
  // As RFC 7518 §3.4 wants it: the two numbers side by side.
  return `${signed}.${sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

/** Ports that are free now, all different. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

async function text(url: string): Promise<string | undefined> {
  try {
    const answer = await fetch(url)
    return answer.ok ? await answer.text() : undefined
  } catch {
    return undefined
  }
}
