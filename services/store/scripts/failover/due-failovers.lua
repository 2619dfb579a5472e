-- Failovers that are due, the longest overdue first. A failover without its verdict is removed.
-- KEYS: due, unacked, failover, failed, progress   ARGV: how many at most
-- Returns: the time (Unix ms); when the next is due if none is due now (Unix ms), '' if there is none; then for each that is due:
-- verdict id, Verdicts message of one, why its attempt failed or '', FailoverProgress as JSON or ''.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
if #ids == 0 then return { now, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or '' } end
local waiting = redis.call('HMGET', KEYS[2], unpack(ids))
local acknowledged = redis.call('HMGET', KEYS[3], unpack(ids))
local failed = redis.call('HMGET', KEYS[4], unpack(ids))
local progress = redis.call('HMGET', KEYS[5], unpack(ids))
local found = { now, '' }
for n, id in ipairs(ids) do
  local verdict = waiting[n] or acknowledged[n]
  if not verdict then redis.call('ZREM', KEYS[1], id)
  else
    found[#found + 1] = id
    found[#found + 1] = verdict
    found[#found + 1] = failed[n] or ''
    found[#found + 1] = progress[n] or ''
  end
end
return found
