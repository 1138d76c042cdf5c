-- pod, link
if redis.call('HGET', P .. 'run:' .. ARGV[4], 'link') == ARGV[5] then
  redis.call('HSET', P .. 'run:' .. ARGV[4], 'link', '')
end
return {'ok', wrote()}
