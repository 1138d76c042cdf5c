-- pod, link, capacity, sessions, leases, participants, cordoned, draining, holds or nothing
if not heard(ARGV[4], ARGV[5]) then return {'gone', inc[2]} end
redis.call('HSET', P .. 'run:' .. ARGV[4], 'capacity', ARGV[6], 'sessions', ARGV[7], 'leases', ARGV[8],
  'participants', ARGV[9], 'cordoned', ARGV[10], 'draining', ARGV[11])
redis.call('ZREMRANGEBYSCORE', P .. 'flight:' .. ARGV[4], '-inf', ARGV[12] == '' and '+inf' or ARGV[12])
return {'ok', wrote(), run_view(ARGV[4])}
