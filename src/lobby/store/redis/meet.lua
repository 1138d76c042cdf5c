-- id, guest, seconds since 1970, its place (JSON)
local s = session(ARGV[4])
if not s then return {'unknown', inc[2]} end
local at, list = tonumber(ARGV[6]), {}
for _, guest in ipairs(parties(s)) do
  if guest[1] ~= ARGV[5] and may_be_there(guest, at) then list[#list + 1] = guest end
end
-- Who has joined twice since a move is still known as it was before.
if #list >= MAX_PLACES then
  for i, guest in ipairs(list) do
    if guest[3] == 0 then
      table.remove(list, i)
      break
    end
  end
end
if #list < MAX_PLACES then list[#list + 1] = {ARGV[5], at, 0, ARGV[7]} end
redis.call('HSET', P .. 's:' .. s.id, 'parties', parties_text(list))
return {'ok', wrote(), run_view(s.pod), reply(s.id)}
