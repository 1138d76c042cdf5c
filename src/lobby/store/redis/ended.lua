-- pod, link, session, epoch
local pod, id = ARGV[4], ARGV[6]
local r = heard(pod, ARGV[5])
if not r then return {'gone', inc[2]} end
local s = session(id)
if s and s.pod == pod and s.boot == r.boot and tonumber(ARGV[7]) >= s.epoch then
  local running = s.ends ~= '' and tonumber(s.ends) > now + GRACE
  if s.state == 'open' or not running then
    take(s)
  else
    -- Refused, or given up just before the lease was renewed: who holds a token may join again, elsewhere.
    redis.call('HSET', P .. 's:' .. id, 'homeless', '1')
    redis.call('SREM', P .. 'held:' .. pod, id)
  end
end
return {'ok', wrote()}
