-- key, request
local known, answer = recall(ARGV[4], ARGV[5])
return {'ok', inc[2], known, answer or ''}
