-- Begins another attempt of a failover, once: the verdict goes into the log and waits for its acknowledgement again.
-- KEYS: failover, attempts, acks, unacked, verdicts, pursuits, due
-- ARGV: verdict id, present attempt, next attempt, Verdicts message of one, Pursuit as JSON, entries kept in the log, due (Unix ms)
-- Returns: 1, or 0 if somebody else did it, or it has ended.
if not redis.call('ZSCORE', KEYS[7], ARGV[1]) then return 0 end
if (redis.call('HGET', KEYS[2], ARGV[1]) or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[4])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[6], '*', 'v', ARGV[4])
redis.call('HSET', KEYS[6], ARGV[1], ARGV[5])
redis.call('ZADD', KEYS[7], ARGV[7], ARGV[1])
return 1
