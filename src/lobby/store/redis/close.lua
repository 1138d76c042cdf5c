-- id
local s = session(ARGV[4])
if s then
  take(s)
  redis.call('DEL', P .. 'g:' .. s.id)
  tell(s.pod, s.boot, s.id, s.epoch, 'close')
  if redis.call('ZCARD', P .. 'closed') >= SESSIONS then
    redis.call('HDEL', P .. 'closedof', redis.call('ZPOPMIN', P .. 'closed')[1])
  end
  redis.call('ZADD', P .. 'closed', now + ORPHAN, s.id)
  redis.call('HSET', P .. 'closedof', s.id, s.epoch .. ' ' .. s.host)
end
return {'ok', wrote()}
