-- Try commands on a key of our own that is empty before and after.
--
-- KEYS 1 the key
-- ARGV for each command: name, number of arguments, arguments ("KEY" stands for the key)
-- Returns the commands that were refused, each followed by the server's message
--
-- Redis checks rights before it runs a command, so each command is tried on a key of another type: the error WRONGTYPE
-- shows that it is allowed, and nothing is changed. The removal comes first: if it is refused, nothing is written that
-- could not be removed again. A Redis over maxmemory accepts a script that begins with a removal.
local refused = {}

local function try(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) ~= 'table' or not answer.err or string.find(answer.err, 'WRONGTYPE', 1, true) then return true end
  refused[#refused + 1] = command
  refused[#refused + 1] = answer.err
end

if try('LTRIM', KEYS[1], 1, 0) and try('RPUSH', KEYS[1], 'x') then
  local at = 1
  while at < #ARGV do
    local arguments = {ARGV[at]}
    for i = at + 2, at + 1 + ARGV[at + 1] do
      arguments[#arguments + 1] = ARGV[i] == 'KEY' and KEYS[1] or ARGV[i]
    end
    try(unpack(arguments))
    at = at + 2 + ARGV[at + 1]
  end
  redis.call('LTRIM', KEYS[1], 1, 0)
end
return refused
