// Links by which one joins. Secrets stand behind `#` only: that part is sent to no server.

/** What a link says. */
export interface Invitation {
  lobby: string
  session: string
  joinKey: string
}

/** The link to this page, for guests. */
export function pageLink(page: string, { lobby, session, joinKey }: Invitation): string {
  const url = new URL(page)
  url.hash = new URLSearchParams({ lobby, session, key: joinKey }).toString()
  return url.href
}

/** Reads a link to this page, or a lobby's own: `https://<lobby>/j/<session>#<key>`. */
export function readLink(text: string): Invitation | undefined {
  let url: URL
  try {
    url = new URL(text.trim())
  } catch {
    return undefined
  }
  const own = /^(.*)\/j\/([^/]+)$/.exec(url.pathname)
  if (own) {
    const joinKey = decodeURIComponent(url.hash.slice(1))
    return joinKey === '' ? undefined : { lobby: url.origin + own[1], session: decodeURIComponent(own[2]!), joinKey }
  }
  const said = new URLSearchParams(url.hash.slice(1))
  const [lobby, session, joinKey] = [said.get('lobby'), said.get('session'), said.get('key')]
  return lobby && session && joinKey ? { lobby, session, joinKey } : undefined
}
