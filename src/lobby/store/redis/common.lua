-- What all steps share. A step means what the session book's operation of the same name means
-- (src/decide/sessions.rs); a test holds the two against each other.
--
-- KEYS[1]  <prefix>inc: the incarnation. All other keys begin with the same prefix, whose hash tag keeps them together.
-- ARGV[1]  the incarnation that the caller knows; ARGV[2] the highest sequence number that it has seen;
-- ARGV[3]  the time in milliseconds, or nothing for the server's own. What a step itself takes begins at ARGV[4].
-- Constants (LEASE, GRACE, SILENT, ORPHAN, KEY_LIFE, ANSWER_LIFE in milliseconds; ON_THE_WAY in seconds; SESSIONS, ANSWERS,
-- MAX_PLACES, EVERY_EPOCH) stand before this.
--
-- <prefix>inc       hash    id, server, seq, began
-- <prefix>s:ID      hash    a session            <prefix>order  zset  sessions by creation time
-- <prefix>ends      zset    sessions by the time at which they end     <prefix>opens  set  those that somebody opened
-- <prefix>run:POD   hash    a run of a relay     <prefix>runs   set   of Pods     <prefix>held:POD  set  sessions there
-- <prefix>flight:POD  zset  sessions that it was told to hold and has not reported since, by the number of the order
-- <prefix>closed    zset    until when, and <prefix>closedof hash: "epoch host-token-hash"
-- <prefix>k:KEY     hash    an answered request  <prefix>a:KEY  string  its answer   <prefix>keys, <prefix>fresh  zsets by age
-- <prefix>g:ID      hash    guests of a session by their id: "state end asked-at name"
-- <prefix>line      hash    who waits for a seat, by lobby process: "said-at came-at …"
-- <prefix>netindex  zset  networks of clients by the number of the last change   <prefix>nettexts  hash  what they have measured
-- <prefix>o:REPLICA list    orders for relays that are linked at that lobby process

local P = string.sub(KEYS[1], 1, -4)

local now
if ARGV[3] == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
else
  now = tonumber(ARGV[3])
end

local inc = redis.call('HMGET', KEYS[1], 'id', 'seq', 'began')
-- Another incarnation, an emptied store, or one that has lost what this caller has seen: nothing is decided here.
if inc[1] ~= ARGV[1] or tonumber(inc[2]) < tonumber(ARGV[2]) then
  return {'lost'}
end

local function wrote()
  return redis.call('HINCRBY', KEYS[1], 'seq', 1)
end

local function session(id)
  local flat = redis.call('HGETALL', P .. 's:' .. id)
  if #flat == 0 then return nil end
  local found = {id = id}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  found.epoch = tonumber(found.epoch)
  return found
end

local function reply(id)
  return redis.call('HGETALL', P .. 's:' .. id)
end

local function run(pod)
  local flat = redis.call('HGETALL', P .. 'run:' .. pod)
  if #flat == 0 then return nil end
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- As callers are told of it.
local function run_view(pod)
  local r = run(pod)
  if not r then return {pod} end
  local linked = r.link ~= '' and 1 or 0
  local told = r.inc == inc[1] and 1 or 0
  local silence = math.max(0, now - tonumber(r.heard))
  local held = redis.call('SCARD', P .. 'held:' .. pod)
  local flying = redis.call('ZCARD', P .. 'flight:' .. pod)
  return {pod, r.boot, linked, told, silence, held, flying, r.capacity, r.sessions, r.leases, r.participants, r.cordoned,
    r.draining, r.keys or '', r.home or ''}
end

local function takes(pod, boot, capacity)
  local r = run(pod)
  if not r or r.boot ~= boot or r.link == '' or now - tonumber(r.heard) > SILENT then return false end
  if r.cordoned ~= '0' or r.draining ~= '0' then return false end
  local held = redis.call('SCARD', P .. 'held:' .. pod)
  local flying = redis.call('ZCARD', P .. 'flight:' .. pod)
  local used = math.max(tonumber(r.sessions) + tonumber(r.leases) + flying, held)
  return used < math.min(tonumber(r.capacity), tonumber(capacity))
end

-- The run behind a link, which is heard with this; nothing if the link is no longer the run's.
local function heard(pod, link)
  local r = run(pod)
  if not r or r.link ~= link then return nil end
  redis.call('HSET', P .. 'run:' .. pod, 'heard', now)
  return r
end

-- An order to a run, if it has a link; without a session, about the relay itself. `held` = the session whose record the relay is to keep.
local function tell(pod, boot, id, epoch, kind, held)
  local r = redis.call('HMGET', P .. 'run:' .. pod, 'boot', 'link', 'replica')
  if r[1] ~= boot or not r[2] or r[2] == '' then return end
  local order = {pod = pod, boot = boot, link = r[2], session = id, epoch = epoch, kind = kind}
  if held then
    order.host, order.join, order.created = held.host, held.join, tonumber(held.created)
    order.approval = held.approval == '1'
  end
  local list = P .. 'o:' .. r[3]
  redis.call('RPUSH', list, cjson.encode(order))
  -- A process that takes none for so long is gone, and its relays are linked elsewhere.
  redis.call('EXPIRE', list, 60)
end

-- Counted until the relay reports a load that was taken after it.
local function hold(s)
  if redis.call('HGET', P .. 'run:' .. s.pod, 'boot') == s.boot then
    local number = redis.call('HINCRBY', P .. 'run:' .. s.pod, 'holds', 1)
    redis.call('ZADD', P .. 'flight:' .. s.pod, number, s.id)
  end
  tell(s.pod, s.boot, s.id, s.epoch, 'hold', s)
end

-- Guests of a session whose places are known: of each its id, since when (seconds since 1970), whether it is there, its place.
local function parties(s)
  if not s.parties or s.parties == '' then return {} end
  return cjson.decode(s.parties)
end

-- The same as it stands with the session.
local function parties_text(list)
  if #list == 0 then return '' end
  return cjson.encode(list)
end

-- `at` = seconds since 1970.
local function may_be_there(guest, at)
  return guest[3] == 1 or at < guest[2] + ON_THE_WAY
end

-- `ends` = time, or '' for never.
local function insert(s, ends)
  redis.call('HSET', P .. 's:' .. s.id, 'name', s.name or '', 'approval', s.approval or '0', 'epoch', s.epoch, 'state', s.state, 'created', s.created, 'host', s.host,
    'join', s.join, 'place', s.place, 'parties', s.parties or '', 'moved', s.moved or '0', 'pod', s.pod, 'boot', s.boot, 'home', s.home, 'homeless', s.homeless, 'ends', ends)
  if ends ~= '' then redis.call('ZADD', P .. 'ends', ends, s.id) end
  if redis.call('HGET', P .. 'run:' .. s.pod, 'boot') == s.boot then
    redis.call('SADD', P .. 'held:' .. s.pod, s.id)
  end
  if s.state == 'open' then redis.call('SADD', P .. 'opens', s.id) end
  redis.call('ZADD', P .. 'order', s.created, s.id)
end

local function take(s)
  redis.call('DEL', P .. 's:' .. s.id)
  redis.call('ZREM', P .. 'order', s.id)
  redis.call('ZREM', P .. 'ends', s.id)
  redis.call('SREM', P .. 'opens', s.id)
  redis.call('SREM', P .. 'held:' .. s.pod, s.id)
end

local function set_ends(id, ends)
  if ends == '' then
    redis.call('ZREM', P .. 'ends', id)
  else
    redis.call('ZADD', P .. 'ends', ends, id)
  end
  redis.call('HSET', P .. 's:' .. id, 'ends', ends)
end

local function set_open(s)
  set_ends(s.id, '')
  redis.call('HSET', P .. 's:' .. s.id, 'state', 'open', 'homeless', '0')
  redis.call('SADD', P .. 'opens', s.id)
  redis.call('SADD', P .. 'held:' .. s.pod, s.id)
end

-- What is known under a key: new, mismatch, gone, or same with the answer.
local function recall(key, request)
  local known = redis.call('HMGET', P .. 'k:' .. key, 'request', 'session', 'at')
  if not known[1] then return 'new' end
  local age = math.max(0, now - tonumber(known[3]))
  if age >= KEY_LIFE or redis.call('EXISTS', P .. 's:' .. known[2]) == 0 then return 'new' end
  if known[1] ~= request then return 'mismatch' end
  local answer = age < ANSWER_LIFE and redis.call('GET', P .. 'a:' .. key)
  if not answer then return 'gone' end
  return 'same', answer
end
