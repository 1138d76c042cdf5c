-- Begins a new incarnation if this server is not the one of the stored one, or if the caller doubts the stored one: in
-- a new one no relay is linked until it has returned what it holds. Sessions stay as far as the server still has them.
-- Stands alone: KEYS[1] as ever; ARGV[1] the server's run, ARGV[2] the new incarnation, ARGV[3] the time or nothing,
-- ARGV[4] an incarnation that is doubted, or nothing.
local P = string.sub(KEYS[1], 1, -4)
local inc = redis.call('HMGET', KEYS[1], 'id', 'server', 'seq')
if inc[1] and inc[2] == ARGV[1] and inc[1] ~= ARGV[4] then
  return {'ok', inc[1], tonumber(inc[3])}
end
local now = ARGV[3]
if now == '' then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
for _, pod in ipairs(redis.call('SMEMBERS', P .. 'runs')) do
  -- Each has the time that a relay may be silent to come back before its sessions count as lost.
  redis.call('HSET', P .. 'run:' .. pod, 'link', '', 'heard', now)
end
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'server', ARGV[1], 'began', now)
return {'new', ARGV[2], redis.call('HINCRBY', KEYS[1], 'seq', 1)}
