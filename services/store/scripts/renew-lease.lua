-- Prolongs the lease, or ends it with a ttl of 0.
-- KEYS: lease   ARGV: epoch, ttl ms   Returns: 1, or -1 if the epoch is stale.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])))
return 1
