local runs = {}
for _, pod in ipairs(redis.call('SMEMBERS', P .. 'runs')) do
  runs[#runs + 1] = run_view(pod)
end
return {'ok', inc[2], now - tonumber(inc[3]), runs}
