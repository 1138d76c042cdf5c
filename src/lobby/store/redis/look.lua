-- ids of sessions
local seen = {}
for i = 4, #ARGV do
  local id, of = ARGV[i], {}
  for _, guest in pairs(guests(id)) do of[#of + 1] = guest end
  local live = reply(id)
  local closed = #live == 0 and redis.call('HGET', P .. 'closedof', id)
  if #live > 0 then
    seen[#seen + 1] = {'live', live, of}
  elseif closed then
    seen[#seen + 1] = {'closed', string.match(closed, ' (.*)'), of}
  else
    seen[#seen + 1] = {'nothing', '', of}
  end
end
return {'ok', inc[2], seen}
