-- pod, link, then session, epoch, participants that have come of each
local pod = ARGV[4]
local r = heard(pod, ARGV[5])
if not r then return {'gone', inc[2]} end
for i = 6, #ARGV, 3 do
  local key = P .. 's:' .. ARGV[i]
  local s = redis.call('HMGET', key, 'pod', 'boot', 'epoch')
  if s[1] == pod and s[2] == r.boot and tonumber(s[3]) == tonumber(ARGV[i + 1]) then
    redis.call('HSET', key, 'came', ARGV[i + 2])
  end
end
return {'ok', wrote()}
