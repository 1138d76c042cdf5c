-- pod, leave or stay
local pod = ARGV[4]
local r = run(pod)
if not r or r.link == '' or now - tonumber(r.heard) > SILENT then return {'unheard', inc[2]} end
tell(pod, r.boot, '', 0, ARGV[5])
return {'ok', wrote()}
