-- Takes the lease of a shard: a new epoch, whoever held it before.
-- KEYS: lease   ARGV: node, ttl ms   Returns: the new epoch.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])))
return epoch
