-- A number for a relay's dial, higher than all before it in this incarnation.
local number = wrote()
return {'ok', number, number, inc[1]}
