-- Gives failovers up: each is kept for an operator. A verdict that is not acknowledged is still delivered, with its
-- present attempt.
-- KEYS: attempts, failed, progress, due, failover, unacked, dead-letters
-- ARGV: letters at most, then for each: verdict id, present attempt, '' if that is not acknowledged, letter as JSON
-- Returns: for each 1; 2 if there is no room for its letter; 0 if it has changed since it was read.
local function stands(id, attempt, failed)
  return redis.call('ZSCORE', KEYS[4], id) and (redis.call('HGET', KEYS[1], id) or '0') == attempt
    and (redis.call('HEXISTS', KEYS[2], id) == 1) == (failed ~= '')
end
local ended = {}
for at = 2, #ARGV, 4 do
  local id = ARGV[at]
  local result = 0
  if stands(id, ARGV[at + 1], ARGV[at + 2]) then
    result = 1
    if redis.call('HEXISTS', KEYS[6], id) == 0 then redis.call('HDEL', KEYS[1], id) end
    redis.call('HDEL', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[5], id)
    if redis.call('HLEN', KEYS[7]) >= tonumber(ARGV[1]) then result = 2
    else redis.call('HSET', KEYS[7], id, ARGV[at + 3]) end
  end
  ended[#ended + 1] = result
end
return ended
