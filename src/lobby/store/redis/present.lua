-- pod, link, seconds since 1970, then session, epoch and the ids of those who are there (JSON) of each
local pod = ARGV[4]
local r = heard(pod, ARGV[5])
if not r then return {'gone', inc[2]} end
local at = tonumber(ARGV[6])
for i = 7, #ARGV, 3 do
  local key = P .. 's:' .. ARGV[i]
  local s = redis.call('HMGET', key, 'pod', 'boot', 'epoch', 'parties')
  if s[1] == pod and s[2] == r.boot and tonumber(s[3]) == tonumber(ARGV[i + 1]) and s[4] and s[4] ~= '' then
    local is_named, list = {}, {}
    for _, id in ipairs(cjson.decode(ARGV[i + 2])) do is_named[id] = true end
    for _, guest in ipairs(cjson.decode(s[4])) do
      local was_there = guest[3] == 1
      guest[3] = is_named[guest[1]] and 1 or 0
      local has_left = was_there and guest[3] == 0
      if not has_left and may_be_there(guest, at) then list[#list + 1] = guest end
    end
    redis.call('HSET', key, 'parties', parties_text(list))
  end
end
return {'ok', wrote()}
