-- id
local found = reply(ARGV[4])
if #found > 0 then return {'ok', inc[2], 'live', found} end
local closed = redis.call('HGET', P .. 'closedof', ARGV[4])
if closed then return {'ok', inc[2], 'closed', string.match(closed, ' (.*)')} end
return {'ok', inc[2], 'nothing'}
