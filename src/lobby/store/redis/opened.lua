-- pod, link, session, epoch
local pod, id, epoch = ARGV[4], ARGV[6], tonumber(ARGV[7])
local r = heard(pod, ARGV[5])
if not r then return {'gone', inc[2]} end
local s = session(id)
if s and s.epoch == epoch and s.pod == pod and s.boot == r.boot then
  set_open(s)
else
  -- Known here under another epoch or elsewhere: it has moved. Not known at all: it has ended.
  tell(pod, r.boot, id, epoch, s and 'move' or 'close')
end
return {'ok', wrote()}
