-- most of each kind in one call
local most, expired, full = tonumber(ARGV[4]), 0, 0
local function over(set, until_)
  local found = redis.call('ZRANGEBYSCORE', P .. set, '-inf', until_, 'LIMIT', 0, most)
  if #found == most then full = 1 end
  return found
end
for _, id in ipairs(over('ends', now)) do
  local s = session(id)
  redis.call('ZREM', P .. 'ends', id)
  if s then
    take(s)
    if s.state == 'leased' then expired = expired + 1 end
  end
end
for _, id in ipairs(over('closed', now)) do
  redis.call('ZREM', P .. 'closed', id)
  redis.call('HDEL', P .. 'closedof', id)
end
for _, pod in ipairs(redis.call('SMEMBERS', P .. 'runs')) do
  if now - tonumber(redis.call('HGET', P .. 'run:' .. pod, 'heard')) >= ORPHAN then
    for _, id in ipairs(redis.call('SMEMBERS', P .. 'held:' .. pod)) do
      local s = session(id)
      if s then take(s) end
    end
    redis.call('DEL', P .. 'run:' .. pod, P .. 'held:' .. pod, P .. 'flight:' .. pod)
    redis.call('SREM', P .. 'runs', pod)
  end
end
for _, key in ipairs(over('keys', now - KEY_LIFE)) do
  redis.call('ZREM', P .. 'keys', key)
  redis.call('ZREM', P .. 'fresh', key)
  redis.call('DEL', P .. 'k:' .. key, P .. 'a:' .. key)
end
for _, key in ipairs(over('fresh', now - ANSWER_LIFE)) do
  redis.call('ZREM', P .. 'fresh', key)
  redis.call('DEL', P .. 'a:' .. key)
end
local all, open = redis.call('ZCARD', P .. 'order'), redis.call('SCARD', P .. 'opens')
return {'ok', wrote(), expired, all - open, open, full}
