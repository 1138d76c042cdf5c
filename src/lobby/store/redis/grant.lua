-- id, created, host, join, place, pod, boot, home, capacity, key or nothing, request, answer, name or nothing, approval
local s = {
  id = ARGV[4], epoch = 1, state = 'leased', created = ARGV[5], host = ARGV[6], join = ARGV[7], place = ARGV[8],
  pod = ARGV[9], boot = ARGV[10], home = ARGV[11], homeless = '0',
  name = ARGV[16], approval = ARGV[17],
}
local key = ARGV[13]
if key ~= '' then
  local known, answer = recall(key, ARGV[14])
  if known ~= 'new' then return {'answered', inc[2], known, answer or ''} end
end
if redis.call('ZCARD', P .. 'order') >= SESSIONS or redis.call('EXISTS', P .. 's:' .. s.id) == 1 then
  return {'many', inc[2]}
end
if not takes(s.pod, s.boot, ARGV[12]) then return {'not', inc[2], run_view(s.pod)} end
insert(s, now + LEASE)
if key ~= '' then
  redis.call('HSET', P .. 'k:' .. key, 'request', ARGV[14], 'session', s.id, 'at', now)
  redis.call('SET', P .. 'a:' .. key, ARGV[15])
  -- The sweep takes them in time; should no lobby be left to sweep, the server does.
  redis.call('PEXPIRE', P .. 'k:' .. key, 2 * KEY_LIFE)
  redis.call('PEXPIRE', P .. 'a:' .. key, 2 * ANSWER_LIFE)
  redis.call('ZADD', P .. 'keys', now, key)
  redis.call('ZADD', P .. 'fresh', now, key)
  if redis.call('ZCARD', P .. 'keys') > ANSWERS then
    local oldest = redis.call('ZPOPMIN', P .. 'keys')[1]
    redis.call('ZREM', P .. 'fresh', oldest)
    redis.call('DEL', P .. 'k:' .. oldest, P .. 'a:' .. oldest)
  end
end
hold(s)
return {'ok', wrote(), run_view(s.pod), reply(s.id)}
