// What a y-websocket provider lacks where no server takes part in the synchronisation.
//
// A y-websocket server answers a client's question ("sync step 1") and asks one of its own, and it knows everybody's
// cursor. A Convene relay in broadcast mode passes on what others send, and nothing else: members answer one another,
// but nobody asks back, so what one wrote while it was away reaches the others only with their next resync. This closes
// that gap at once, with messages that every y-websocket provider understands; `resyncInterval` stays as the safety net.

import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { encodeAwarenessUpdate } from 'y-protocols/awareness'
import { messageYjsSyncStep1, messageYjsSyncStep2, writeSyncStep1 } from 'y-protocols/sync'
import { messageAwareness, messageQueryAwareness, messageSync, type WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

/** Milliseconds over which members spread their questions: the answer to the first reaches, and serves, all. */
const SPREAD_MS = 100

/** Clocks by client. */
type StateVector = Map<number, number>

/** Whether `theirs` knows insertions that `ours` does not. Deletions do not show in state vectors. */
export function lacks(ours: StateVector, theirs: StateVector): boolean {
  for (const [client, clock] of theirs) {
    if ((ours.get(client) ?? 0) < clock) return true
  }
  return false
}

/** Makes a provider ask back, and tell what it deleted and who is there. Returns what undoes it. */
export function syncWithPeers(provider: WebsocketProvider): () => void {
  const { doc, awareness } = provider
  let asking: ReturnType<typeof setTimeout> | undefined

  // Somebody came who knows more than we do: ask.
  const answer = provider.messageHandlers[messageSync]!
  provider.messageHandlers[messageSync] = (encoder, decoder, from, emitSynced, type) => {
    const theirs = stateVectorOf(decoder)
    answer(encoder, decoder, from, emitSynced, type)
    if (theirs === undefined || asking !== undefined || !lacks(ourState(), theirs)) return
    asking = setTimeout(() => {
      asking = undefined
      if (lacks(ourState(), theirs)) send(provider, (message) => question(message, doc))
    }, Math.random() * SPREAD_MS)
  }
  const ourState = (): StateVector => Y.decodeStateVector(Y.encodeStateVector(doc))

  const onStatus = ({ status }: { status: string }): void => {
    if (status === 'connected') {
      // After what the provider itself sends first.
      queueMicrotask(greet)
    } else if (status === 'disconnected') {
      forgetOthers()
    }
  }
  const greet = (): void => {
    // What we deleted, with no insertion: state vectors do not tell of it, so nobody would ask.
    send(provider, (message) => {
      encoding.writeVarUint(message, messageSync)
      encoding.writeVarUint(message, messageYjsSyncStep2)
      encoding.writeVarUint8Array(message, Y.encodeStateAsUpdate(doc, Y.encodeStateVector(doc)))
    })
    // Who is there? And: here I am, under a new clock, for those that saw me leave.
    send(provider, (message) => encoding.writeVarUint(message, messageQueryAwareness))
    awareness.setLocalState(awareness.getLocalState())
  }
  // The provider has removed the others, but would pass over their states until these change: it still has their clocks.
  const forgetOthers = (): void => {
    for (const client of [...awareness.meta.keys()]) {
      if (client !== awareness.clientID && !awareness.states.has(client)) awareness.meta.delete(client)
    }
  }

  // The provider also repeats what it hears of others' cursors. Here all hear it already, and with N members each
  // movement of a cursor would be sent N times.
  type Changes = { added: number[]; updated: number[]; removed: number[] }
  const own = ({ added, updated, removed }: Changes, origin: unknown): void => {
    if (origin === provider) return
    send(provider, (message) => {
      encoding.writeVarUint(message, messageAwareness)
      encoding.writeVarUint8Array(message, encodeAwarenessUpdate(awareness, [...added, ...updated, ...removed]))
    })
  }
  awareness.off('update', provider._awarenessUpdateHandler)
  awareness.on('update', own)
  provider.on('status', onStatus)
  return () => {
    clearTimeout(asking)
    provider.off('status', onStatus)
    awareness.off('update', own)
    provider.messageHandlers[messageSync] = answer
  }
}

function question(message: encoding.Encoder, doc: Y.Doc): void {
  encoding.writeVarUint(message, messageSync)
  writeSyncStep1(message, doc)
}

/** Sends if there is a connection; what is lost is asked for again. */
function send(provider: WebsocketProvider, write: (message: encoding.Encoder) => void): void {
  const { ws } = provider
  if (!provider.wsconnected || ws === null || ws.readyState !== ws.OPEN) return
  const message = encoding.createEncoder()
  write(message)
  ws.send(encoding.toUint8Array(message))
}

/** The state vector of a question, without consuming it; `undefined` for other messages. */
function stateVectorOf(decoder: decoding.Decoder): StateVector | undefined {
  const peek = decoding.clone(decoder)
  if (decoding.readVarUint(peek) !== messageYjsSyncStep1) return undefined
  return Y.decodeStateVector(decoding.readVarUint8Array(peek))
}
