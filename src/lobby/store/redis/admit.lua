-- session, guest, approved or refused
local id = ARGV[4]
local guest = redis.call('EXISTS', P .. 's:' .. id) == 1 and guests(id)[ARGV[5]]
if not guest then return {'unknown', inc[2]} end
guest[2] = ARGV[6]
keep(id, guest)
return {'ok', wrote(), guest}
