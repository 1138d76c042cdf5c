-- pod, link, ids of keys
if not heard(ARGV[4], ARGV[5]) then return {'gone', inc[2]} end
redis.call('HSET', P .. 'run:' .. ARGV[4], 'keys', ARGV[6])
return {'ok', wrote(), run_view(ARGV[4])}
