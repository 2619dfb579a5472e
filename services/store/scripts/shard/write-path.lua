-- Notes how the shard's probes leave, for an owner that has no headend to ask. Fenced.
-- KEYS: lease   ARGV: epoch, write, path as JSON   Returns: 1.
redis.call('HSET', KEYS[1], 'path', ARGV[3])
return 1
