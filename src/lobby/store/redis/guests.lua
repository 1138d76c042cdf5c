-- What the steps on guests share. Lives (WAITING_LIFE, REFUSED_LIFE, APPROVED_LIFE in milliseconds) and bounds
-- (MAX_WAITING, MAX_GUESTS) stand before this.

-- The guests of a session by their id, how many, and how many of them wait. Those whose time is over are forgotten.
local function guests(id)
  local found, all, waiting = {}, 0, 0
  local flat = redis.call('HGETALL', P .. 'g:' .. id)
  for i = 1, #flat, 2 do
    local state, ends, asked, name = string.match(flat[i + 1], '^(%a+) (%d+) (%d+) (.*)$')
    if tonumber(ends) > now then
      found[flat[i]] = {flat[i], state, asked, name}
      all = all + 1
      if state == 'waiting' then waiting = waiting + 1 end
    else
      redis.call('HDEL', P .. 'g:' .. id, flat[i])
    end
  end
  return found, all, waiting
end

-- Keeps a guest for the life of its state, from now on.
local function keep(id, guest)
  local lives = {waiting = WAITING_LIFE, refused = REFUSED_LIFE, approved = APPROVED_LIFE}
  local ends = now + lives[guest[2]]
  redis.call('HSET', P .. 'g:' .. id, guest[1], guest[2] .. ' ' .. ends .. ' ' .. guest[3] .. ' ' .. guest[4])
  -- No longer than the longest of them.
  redis.call('PEXPIRE', P .. 'g:' .. id, APPROVED_LIFE)
end
