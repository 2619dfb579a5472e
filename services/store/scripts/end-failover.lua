-- Ends a failover: seen through, or given up and kept for an operator.
-- KEYS: failover, attempts, acks, pursuits, due, dead-letters   ARGV: verdict id, letter as JSON or '', letters at most
-- Returns: 1, or 2 if there is no more room for its letter. A verdict not acknowledged stays to be delivered.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
if ARGV[2] == '' then return 1 end
if redis.call('HLEN', KEYS[6]) >= tonumber(ARGV[3]) then return 2 end
redis.call('HSET', KEYS[6], ARGV[1], ARGV[2])
return 1
