// `npm run local` shows what it says, and leaves nothing behind.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Lobby } from '../src/convene/lobby.ts'
import { until } from './world.ts'

test('a lobby, two relays and the page on this machine', async (context) => {
  const local = spawn(process.execPath, ['--import', 'tsx', 'tests/local.ts'], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    // Whatever port is free.
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  context.after(() => local.kill('SIGKILL'))
  let said = ''
  local.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  const page = await until('it says where the page is', () => /The editor: +(\S+)/.exec(said)?.[1])
  const relay = Number(await until('it says how to end a relay', () => /kill (\d+)/.exec(said)?.[1]))
  await until('it has said all', () => said.includes('Ctrl-C'))
  const html = await (await fetch(page)).text()
  assert.match(html, /<title>Shared editor/)
  const lobby = new Lobby(new URL(page).searchParams.get('lobby')!)
  const created = await lobby.create('eu-west-1')
  assert.equal(created.session.region, 'eu-west-1')

  process.kill(relay, 'SIGTERM')
  await until('another region serves the session', async () => {
    const { session } = await lobby.join(created.session.id, { joinKey: created.joinKey })
    return session.region === 'europe-north1'
  })
  local.kill('SIGINT')
  const [code] = await once(local, 'exit')
  assert.equal(code, 0)
  await assert.rejects(fetch(lobby.url), 'the lobby has ended too')
})
