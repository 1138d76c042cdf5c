-- number of a change, how many networks at most: those that were changed after it
local index, texts = P .. 'netindex', P .. 'nettexts'
local found = redis.call('ZRANGEBYSCORE', index, '(' .. ARGV[4], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[5])
local last = redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2] or '0'
local all = {}
for i = 1, #found, 2 do
  local text = redis.call('HGET', texts, found[i])
  if text then all[#all + 1] = {found[i], found[i + 1], text} end
end
return {'ok', inc[2], redis.call('HGET', texts, 'shelf') or '', last, all}
