-- how many networks at most, milliseconds after which one that is not changed goes, a name for an empty shelf; then for each
-- network its name, the number that its writer knows (0 = none), its text
-- Losing this costs next to nothing, so it counts as no write that a store must not fall behind.
local index, texts = P .. 'netindex', P .. 'nettexts'
local most, life = tonumber(ARGV[4]), tonumber(ARGV[5])
local function forget(networks)
  for _, network in ipairs(networks) do
    redis.call('ZREM', index, network)
    redis.call('HDEL', texts, network)
  end
end
-- Some at a time, so that no step takes long.
forget(redis.call('ZRANGEBYSCORE', index, '-inf', now - life, 'LIMIT', 0, 100))
redis.call('HSETNX', texts, 'shelf', ARGV[6])
-- A change's number is the time, but never goes back.
local last = tonumber(redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2] or '0')
local all = {}
for i = 7, #ARGV, 3 do
  local network, number = ARGV[i], redis.call('ZSCORE', index, ARGV[i]) or '0'
  local text = redis.call('HGET', texts, network)
  if number ~= ARGV[i + 1] and text then
    all[#all + 1] = {'other', network, number, text}
  else
    last = math.max(now, last + 1)
    redis.call('ZADD', index, string.format('%.0f', last), network)
    redis.call('HSET', texts, network, ARGV[i + 2])
    all[#all + 1] = {'under', string.format('%.0f', last)}
  end
end
local over = redis.call('ZCARD', index) - most
if over > 0 then forget(redis.call('ZRANGE', index, 0, over - 1)) end
redis.call('PEXPIRE', index, life)
redis.call('PEXPIRE', texts, life)
return {'ok', inc[2], all}
