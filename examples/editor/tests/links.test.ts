// Links and state vectors: plain values in, plain values out.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { pageLink, readLink } from '../src/convene/links.ts'
import { probeUrl } from '../src/convene/roundtrip.ts'
import { lacks } from '../src/convene/sync.ts'

test('a link to the page says what it was made of, and keeps it behind the #', () => {
  const invitation = { lobby: 'https://lobby.example/base', session: 'a_-9', joinKey: 'k+/=&#%' }
  const link = pageLink('https://app.example/editor/?lobby=x#old', invitation)
  assert.deepEqual(readLink(link), invitation)
  const sent = link.split('#')[0]!
  assert.equal(sent, 'https://app.example/editor/?lobby=x')
})

test('links of lobbies and of pages are read, and nothing else', () => {
  for (const [text, read] of [
    [' https://lobby.example/j/ses#key ', { lobby: 'https://lobby.example', session: 'ses', joinKey: 'key' }],
    ['http://[::1]:8080/base/j/ses#key', { lobby: 'http://[::1]:8080/base', session: 'ses', joinKey: 'key' }],
    ['https://lobby.example/j/ses', undefined],
    ['https://lobby.example/j/#key', undefined],
    ['https://app.example/#lobby=https://l&session=s', undefined],
    ['https://app.example/', undefined],
    ['no link', undefined],
    ['', undefined],
  ] as const) {
    assert.deepEqual(readLink(text), read, text)
  }
})

test('a relay is timed where it serves sessions', () => {
  assert.equal(probeUrl('ws://192.0.2.1:31000/s/abc'), 'http://192.0.2.1:31000/probe')
  assert.equal(probeUrl('wss://relay-0.example.com/s/a-b_c'), 'https://relay-0.example.com/probe')
  const place = { region: 'eu-west-1', latitude: 0, longitude: 0, relays: 2, freeSeats: 2 }
  const probes = ['https://relay-0.example.com/probe?token=x', 'https://relay-01.example.com/probe?token=y'].map((url) => ({ url, expiresAt: 0 }))
  assert.equal(probeUrl('wss://relay-01.example.com/s/a', [place, { ...place, probes }]), probes[1]!.url)
  assert.equal(probeUrl('wss://relay-2.example.com/s/a', [{ ...place, probes }]), 'https://relay-2.example.com/probe')
})

test('one lacks what another has more of', () => {
  const state = (...clocks: [number, number][]): Map<number, number> => new Map(clocks)
  assert.ok(!lacks(state(), state()))
  assert.ok(!lacks(state([1, 5]), state()))
  assert.ok(!lacks(state([1, 5]), state([1, 5])))
  assert.ok(!lacks(state([1, 5]), state([1, 4])))
  assert.ok(lacks(state([1, 5]), state([1, 6])))
  assert.ok(lacks(state([1, 5]), state([2, 1])))
})
