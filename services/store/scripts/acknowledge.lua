-- Notes what a data plane made of a verdict. What is left of its failover keeps the verdict.
-- KEYS: unacked, failover, acks, attempts, due   ARGV: verdict id, attempt, acknowledgement as JSON
-- Returns: 1, or 0 if that attempt of the verdict was not waiting for one.
if ARGV[2] ~= (redis.call('HGET', KEYS[4], ARGV[1]) or '0') then return 0 end
local verdict = redis.call('HGET', KEYS[1], ARGV[1])
if not verdict then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('ZSCORE', KEYS[5], ARGV[1]) then
  redis.call('HSET', KEYS[2], ARGV[1], verdict)
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[5], '0', ARGV[1])
end
return 1
