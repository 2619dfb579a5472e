-- Notes the progress of failovers and when they are looked at again, for each that has not changed since it was read.
-- KEYS: attempts, failed, progress, due
-- ARGV: for each: verdict id, present attempt, '' if that is not acknowledged, FailoverProgress as JSON, due (Unix ms)
-- Returns: 1.
local function stands(id, attempt, failed)
  return redis.call('ZSCORE', KEYS[4], id) and (redis.call('HGET', KEYS[1], id) or '0') == attempt
    and (redis.call('HEXISTS', KEYS[2], id) == 1) == (failed ~= '')
end
for at = 1, #ARGV, 5 do
  if stands(ARGV[at], ARGV[at + 1], ARGV[at + 2]) then
    redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 3])
    redis.call('ZADD', KEYS[4], ARGV[at + 4], ARGV[at])
  end
end
return 1
