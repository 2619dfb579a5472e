-- Takes a failover up again that was given up: a new attempt, with all its time.
-- KEYS: dead-letters, attempts, unacked, verdicts, due
-- ARGV: verdict id, attempt, Verdicts message of one, entries kept in the log   Returns: 1, or 0 if it is not there.
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[4], '*', 'v', ARGV[3])
redis.call('ZADD', KEYS[5], '0', ARGV[1])
return 1
