-- pod, limit
local ids = redis.call('SINTER', P .. 'held:' .. ARGV[4], P .. 'opens')
table.sort(ids)
local found = {}
for i = 1, math.min(#ids, tonumber(ARGV[5])) do
  found[#found + 1] = {ids[i], reply(ids[i])}
end
return {'ok', inc[2], found}
