-- session, guest, seconds since 1970, name or nothing
local id = ARGV[4]
if redis.call('EXISTS', P .. 's:' .. id) == 0 then return {'unknown', inc[2]} end
local found, all, waiting = guests(id)
local guest = found[ARGV[5]]
if not guest then
  if waiting >= MAX_WAITING or all >= MAX_GUESTS then return {'many', inc[2]} end
  guest = {ARGV[5], 'waiting', ARGV[6], ARGV[7]}
end
if guest[2] ~= 'refused' then
  if guest[4] == '' then guest[4] = ARGV[7] end
  keep(id, guest)
end
return {'ok', wrote(), guest}
