-- Prolongs the lease, or ends it with a ttl of 0. Fenced.
-- KEYS: lease   ARGV: epoch, '', ttl ms
-- Returns: number of the last write that Redis knows of; and the time, Unix ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'until', ttl == 0 and '0' or string.format('%.0f', now + ttl))
return { tonumber(redis.call('HGET', KEYS[1], 'written') or '0') or 0, now }
