-- id, name
local s = session(ARGV[4])
if not s then return {'unknown', inc[2]} end
redis.call('HSET', P .. 's:' .. s.id, 'name', ARGV[5])
return {'ok', wrote(), run_view(s.pod), reply(s.id)}
