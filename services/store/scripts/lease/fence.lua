-- Put before every script that writes a shard's state.
-- KEYS: lease, ...   ARGV: epoch, number of this write / number of the last before it that was acknowledged or is under way, or ''
-- if its loss does not matter, ...
-- Returns -1 if the shard has a newer owner, -2 if Redis has forgotten the lease, -3 if Redis does not have that earlier write,
-- because it forgot or refused it; in these cases nothing is written.
local held = redis.call('HGET', KEYS[1], 'epoch')
if not held then return -2 end
if held ~= ARGV[1] then return -1 end
local write, before = string.match(ARGV[2], '^(%d+)/(%d+)$')
if write then
  local known = tonumber(redis.call('HGET', KEYS[1], 'written') or '0') or 0
  if known < tonumber(before) then return -3 end
  if known < tonumber(write) then redis.call('HSET', KEYS[1], 'written', write) end
end
