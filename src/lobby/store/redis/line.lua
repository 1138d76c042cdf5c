-- replica, how long each has waited there who waits for any seat
local most = 2000 -- milliseconds after which a process that says nothing is gone
local replica = ARGV[4]
local came = {}
for i = 5, #ARGV do came[#came + 1] = now - tonumber(ARGV[i]) end
if #came > 0 then
  redis.call('HSET', P .. 'line', replica, now .. ' ' .. table.concat(came, ' '))
  redis.call('EXPIRE', P .. 'line', 60)
else
  redis.call('HDEL', P .. 'line', replica)
end
local others = {}
local flat = redis.call('HGETALL', P .. 'line')
for i = 1, #flat, 2 do
  if flat[i] ~= replica then
    local said, rest = string.match(flat[i + 1], '^(%d+) (.*)$')
    if now - tonumber(said) > most then
      redis.call('HDEL', P .. 'line', flat[i])
    else
      for at in string.gmatch(rest, '%-?%d+') do others[#others + 1] = math.max(0, now - tonumber(at)) end
    end
  end
end
return {'ok', inc[2], others}
