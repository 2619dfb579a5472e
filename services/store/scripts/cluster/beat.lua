-- Notes that a node lives, and returns the live nodes.
-- KEYS: nodes   ARGV: node, its description, ttl ms (0: it is gone), ms after which a silent node is forgotten
-- Returns: node, description, for each that lives by Redis's clock; first '', '' if the key was of another type, and was removed.
local live = {}
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[1])
  live = { '', '' }
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] == '0' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %s', now + tonumber(ARGV[3]), ARGV[2])) end
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local untilMs, description = string.match(all[at + 1], '^(%d+) (.*)$')
  -- A record that is no beat is removed.
  if not untilMs then redis.call('HDEL', KEYS[1], all[at])
  elseif tonumber(untilMs) > now then
    live[#live + 1] = all[at]
    live[#live + 1] = description
  elseif tonumber(untilMs) + tonumber(ARGV[4]) < now then redis.call('HDEL', KEYS[1], all[at]) end
end
return live
