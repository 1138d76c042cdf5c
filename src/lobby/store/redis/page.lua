-- creation time and id of the last of the page before, or two times nothing; limit
local order, from = P .. 'order', 0
if ARGV[4] ~= '' then
  -- The last one may have ended meanwhile: it is put where it stood, to see what comes behind it.
  local ghost = not redis.call('ZSCORE', order, ARGV[5])
  if ghost then redis.call('ZADD', order, ARGV[4], ARGV[5]) end
  from = redis.call('ZRANK', order, ARGV[5]) + 1
  if ghost then
    redis.call('ZREM', order, ARGV[5])
    from = from - 1
  end
end
local found = {}
for _, id in ipairs(redis.call('ZRANGE', order, from, from + tonumber(ARGV[6]) - 1)) do
  found[#found + 1] = {id, reply(id)}
end
return {'ok', inc[2], found}
