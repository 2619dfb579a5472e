-- Notes what a data plane made of a verdict.
-- KEYS: unacked, failover, acks, attempts, due   ARGV: verdict id, attempt, acknowledgement as JSON
-- Returns: 1, or 0 if that attempt of the verdict was not waiting for one.
if ARGV[2] ~= (redis.call('HGET', KEYS[4], ARGV[1]) or '0') then return 0 end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
  redis.call('ZADD', KEYS[5], 'XX', '0', ARGV[1])
end
return 1
