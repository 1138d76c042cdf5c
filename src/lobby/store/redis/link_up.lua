-- pod, boot, home, link, replica, capacity, records (JSON: sid, epoch, host, join, approval, created), open (JSON: ids),
-- ids of keys, number of the dial and the incarnation that gave it
local pod, boot, home = ARGV[4], ARGV[5], ARGV[6]
local dial = tonumber(ARGV[13])
-- Its run may be over; in another incarnation, nobody knows what it comes after.
if ARGV[14] ~= inc[1] or dial < tonumber(redis.call('HGET', P .. 'run:' .. pod, 'dial') or '0') then
  return {'outrun', inc[2]}
end
local records, is_open = cjson.decode(ARGV[10]), {}
local opened, leased = 0, 0
for _, id in ipairs(cjson.decode(ARGV[11])) do
  if not is_open[id] then opened = opened + 1 end
  is_open[id] = true
end
for i, record in ipairs(records) do
  record.at = i
  if not is_open[record.sid] then leased = leased + 1 end
end

local known = redis.call('SMEMBERS', P .. 'held:' .. pod)
table.sort(known)
local run_before = redis.call('HMGET', P .. 'run:' .. pod, 'boot', 'inc')
local same = run_before[1] == boot
local known_run = same and run_before[2] == inc[1]
if not same then
  -- What another run had is lost: whoever joins moves it; if nobody does it is forgotten in time.
  redis.call('DEL', P .. 'held:' .. pod)
  for _, id in ipairs(known) do
    local s = session(id)
    if s then
      redis.call('HSET', P .. 's:' .. id, 'homeless', '1')
      if s.ends == '' then set_ends(id, now + ORPHAN) end
    end
  end
  known = {}
end
redis.call('SADD', P .. 'runs', pod)
redis.call('HSET', P .. 'run:' .. pod, 'boot', boot, 'home', home, 'link', ARGV[7], 'dial', dial, 'replica', ARGV[8], 'inc', inc[1], 'heard', now,
  'capacity', ARGV[9], 'sessions', opened, 'leases', leased, 'participants', 0, 'cordoned', '0', 'draining', '0',
  'keys', ARGV[12], 'holds', 0)
redis.call('DEL', P .. 'flight:' .. pod)

local function take_in(record)
  local closed = redis.call('HGET', P .. 'closedof', record.sid)
  if closed then
    local epoch = tonumber(string.match(closed, '^%d+'))
    if record.epoch <= epoch then return tell(pod, boot, record.sid, epoch, 'close') end
  end
  local before = session(record.sid)
  local here = before and before.pod == pod and before.boot == boot
  if before and (record.epoch < before.epoch or (record.epoch == before.epoch and not here)) then
    -- It lives elsewhere now. If it moved on within this relay, only the older epoch is meant.
    return tell(pod, boot, record.sid, record.epoch, 'move')
  end
  local ends = ''
  if not is_open[record.sid] then
    ends = here and before.ends ~= '' and before.ends or now + LEASE
  end
  -- Signed by an older lobby, its record may not say that the host is to be asked.
  local approval = record.approval or (before and before.approval == '1')
  if before then
    take(before)
    if not here then tell(before.pod, before.boot, before.id, before.epoch, 'move') end
  end
  insert({
    id = record.sid, epoch = record.epoch, state = is_open[record.sid] and 'open' or 'leased', created = record.created,
    host = record.host, join = record.join, place = before and before.place or '{}', pod = pod, boot = boot, home = home,
    homeless = '0', approval = approval and '1' or '0', name = before and before.name or '', parties = before and before.parties, moved = before and before.moved,
  }, ends)
end

-- Of two records of one session the newer counts.
table.sort(records, function(a, b)
  if a.epoch ~= b.epoch then return a.epoch > b.epoch end
  return a.at < b.at
end)
local returned = {}
for _, record in ipairs(records) do
  returned[record.sid] = true
  take_in(record)
end
-- Closes free seats, so they stand before the holds.
local unrecorded = {}
for id in pairs(is_open) do
  if not returned[id] then unrecorded[#unrecorded + 1] = id end
end
table.sort(unrecorded)
for _, id in ipairs(unrecorded) do
  local s = session(id)
  if not s then
    if known_run or redis.call('HEXISTS', P .. 'closedof', id) == 1 then tell(pod, boot, id, EVERY_EPOCH, 'close') end
  elseif s.pod ~= pod or s.boot ~= boot then
    tell(pod, boot, id, s.epoch - 1, 'move')
  end
end
for _, id in ipairs(known) do
  local s = not returned[id] and session(id)
  if s then
    if not is_open[id] and s.state == 'open' then
      -- It ended while the link was away.
      take(s)
    else
      -- The order to hold it was lost with the link.
      hold(s)
      if is_open[id] then
        set_open(s)
      else
        -- The relay's lease begins with this order.
        set_ends(id, now + LEASE)
      end
    end
  end
end
return {'ok', wrote(), run_view(pod)}
