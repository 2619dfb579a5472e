-- Prolongs the lease, or ends it with a ttl of 0. Fenced.
-- KEYS: lease   ARGV: epoch, '', ttl ms, 1 if its headend is connected
-- Returns: number of the last write that Redis knows of; the time; and `since`: from when on it has known nothing else than this
-- owner with its headend, 0 if never anything else; Unix ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[3])
if redis.call('HGET', KEYS[1], 'attended') ~= '1' or redis.call('HGET', KEYS[1], 'until') == '0' then
  redis.call('HSET', KEYS[1], 'since', string.format('%.0f', now))
end
redis.call('HSET', KEYS[1], 'until', ttl == 0 and '0' or string.format('%.0f', now + ttl), 'attended', ARGV[4])
local since = tonumber(redis.call('HGET', KEYS[1], 'since') or '0')
return { tonumber(redis.call('HGET', KEYS[1], 'written') or '0'), now, since }
