-- id, epoch
local s = session(ARGV[4])
if not s then return {'unknown', inc[2]} end
if s.epoch ~= tonumber(ARGV[5]) or s.homeless == '1' then return {'changed', inc[2]} end
if s.state ~= 'open' then
  tell(s.pod, s.boot, s.id, s.epoch, 'renew')
  set_ends(s.id, now + LEASE)
end
return {'ok', wrote(), run_view(s.pod), reply(s.id)}
