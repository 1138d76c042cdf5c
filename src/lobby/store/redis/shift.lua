-- id, from epoch, pod, boot, home, capacity, seconds since 1970
local s = session(ARGV[4])
if not s then return {'unknown', inc[2]} end
if s.epoch ~= tonumber(ARGV[5]) then return {'changed', inc[2]} end
if not takes(ARGV[6], ARGV[7], ARGV[9]) then return {'not', inc[2], run_view(ARGV[6])} end
take(s)
local pod, boot, epoch = s.pod, s.boot, s.epoch
s.epoch, s.state, s.pod, s.boot, s.home, s.homeless = epoch + 1, 'leased', ARGV[6], ARGV[7], ARGV[8], '0'
-- Its guests are on their way there; those that never came are forgotten.
local at, list = tonumber(ARGV[10]), {}
for _, guest in ipairs(parties(s)) do
  if may_be_there(guest, at) then list[#list + 1] = {guest[1], at, 0, guest[4]} end
end
s.parties, s.moved = parties_text(list), ARGV[10]
insert(s, now + LEASE)
hold(s)
tell(pod, boot, s.id, epoch, 'move')
return {'ok', wrote(), run_view(s.pod), reply(s.id)}
