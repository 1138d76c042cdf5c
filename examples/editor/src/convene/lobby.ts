// The lobby's HTTP API, as far as an editor needs it: regions, create, join, close. See /openapi.json of a lobby.

/** Time of one request, in milliseconds; the lobby itself answers within ten seconds or not at all. */
const REQUEST_MS = 10_000

/** Where the round trip to a relay can be measured, until then (seconds since 1970). */
export interface Probe {
  url: string
  expiresAt: number
}

/** A place of a lobby's relays. */
export interface Region {
  region: string
  latitude: number
  longitude: number
  relays: number
  freeSeats: number
  probes?: Probe[]
}

/** What is told about a session. */
export interface SessionView {
  id: string
  /** Raised by each move of the session. */
  epoch: number
  region: string
  relay: string
}

/** A pass for one connection to the session's relay, good for a minute at most. */
export interface Connect {
  /** WebSocket URL, without the token. */
  url: string
  token: string
  /** Seconds since 1970. */
  expiresAt: number
  participant: string
  role: 'host' | 'guest'
}

/** One pool in the order of preference; the first with room was chosen. */
export interface RankedPool {
  pool: string
  region: string
  rung: string
  /** Estimated round trip; absent where the lobby does not know where the client is. */
  estimateMs?: number
  reason: string
}

export interface Joined {
  session: SessionView
  connect: Connect
}

export interface Created extends Joined {
  joinLink: string
  joinKey: string
  hostToken: string
  ranking: RankedPool[]
}

/** What lets one into a session: the host's secret, or the key from the link. */
export type Credential = { hostToken: string } | { joinKey: string }

/** The lobby refused, or could not be asked. */
export class LobbyError extends Error {
  override name = 'LobbyError'
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  /** The lobby's stable word, such as `no_capacity`; `unreachable` when there was no answer. */
  readonly code: string
  /** Milliseconds after which the lobby wants to be asked again; 0 when it does not say. */
  readonly retryAfterMs: number

  constructor(status: number, code: string, message: string, retryAfterMs = 0) {
    super(message)
    this.status = status
    this.code = code
    this.retryAfterMs = retryAfterMs
  }

  /** Whether asking again cannot help: the request itself is refused, not its moment. */
  get final(): boolean {
    return this.status >= 400 && this.status < 500 && this.status !== 408 && this.status !== 429
  }
}

/** One lobby. */
export class Lobby {
  readonly url: string

  constructor(url: string) {
    const parsed = new URL(url)
    if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
      throw new TypeError(`the lobby's URL must begin with https:// or http://, not ${parsed.protocol}//`)
    }
    this.url = (parsed.origin + parsed.pathname).replace(/\/+$/, '')
  }

  regions(signal?: AbortSignal): Promise<Region[]> {
    return this.#call('GET', '/v1/regions', {}, signal)
  }

  /** Creates a session near `region`, or where the lobby likes if none is given. */
  create(region: string | undefined, signal?: AbortSignal): Promise<Created> {
    const body = region === undefined ? {} : { place: { region } }
    // Should the answer be lost, the browser's own repeat of the request makes no second session.
    const headers = { 'idempotency-key': crypto.randomUUID() }
    return this.#call('POST', '/v1/sessions', { body, headers }, signal)
  }

  /**
   * A fresh pass: wherever the session lives now. `lostEpoch`: the epoch under which a connection was lost; with a relay
   * that the lobby has lost as well, the session moves at once.
   */
  join(session: string, credential: Credential, lostEpoch?: number, signal?: AbortSignal): Promise<Joined> {
    const path = `/v1/sessions/${encodeURIComponent(session)}/join`
    return 'hostToken' in credential
      ? this.#call('POST', path, { body: { lostEpoch }, headers: bearer(credential.hostToken) }, signal)
      : this.#call('POST', path, { body: { joinKey: credential.joinKey, lostEpoch } }, signal)
  }

  /** Ends the session for everybody. */
  async close(session: string, hostToken: string, signal?: AbortSignal): Promise<void> {
    await this.#call('DELETE', `/v1/sessions/${encodeURIComponent(session)}`, { headers: bearer(hostToken) }, signal)
  }

  async #call<T>(
    method: string,
    path: string,
    { body, headers = {} }: { body?: object; headers?: Record<string, string> },
    signal?: AbortSignal,
  ): Promise<T> {
    const timeout = AbortSignal.timeout(REQUEST_MS)
    const request: RequestInit = { method, headers, signal: signal ? AbortSignal.any([signal, timeout]) : timeout }
    if (body !== undefined) {
      request.body = JSON.stringify(body)
      request.headers = { ...headers, 'content-type': 'application/json' }
    }
    let answer: Response
    let text: string
    try {
      answer = await fetch(this.url + path, request)
      text = await answer.text()
    } catch (error) {
      if (signal?.aborted) throw error
      throw new LobbyError(0, 'unreachable', `the lobby at ${this.url} does not answer`)
    }
    if (!answer.ok) throw refusal(answer, text)
    return (text === '' ? undefined : JSON.parse(text)) as T
  }
}

function bearer(secret: string): Record<string, string> {
  return { authorization: `Bearer ${secret}` }
}

/** Errors are `application/problem+json` (RFC 9457); what stands between may answer in its own way. */
function refusal(answer: Response, text: string): LobbyError {
  const retryAfterMs = 1000 * (Number(answer.headers.get('retry-after')) || 0)
  try {
    const { code, title, detail } = JSON.parse(text) as { code: string; title: string; detail?: string }
    return new LobbyError(answer.status, code, detail === undefined ? title : `${title}: ${detail}`, retryAfterMs)
  } catch {
    return new LobbyError(answer.status, 'unknown', `the lobby answers with status ${answer.status}`, retryAfterMs)
  }
}
