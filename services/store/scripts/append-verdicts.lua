-- Appends verdicts to the log, once each: an SA that has a verdict gets no second one. Fenced.
-- KEYS: lease, verdicts, unacked, dead, failover, due
-- ARGV: epoch, write, entries kept in the log, ms until their failover is looked at,
--       then for each: SPI pair, verdict id, Verdict
-- Returns: 1. Repeating a call changes nothing.
local time = redis.call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4]))
for at = 5, #ARGV, 3 do
  local id = ARGV[at + 1]
  if redis.call('HSETNX', KEYS[4], ARGV[at], id) == 1 then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'v', ARGV[at + 2])
    redis.call('HSET', KEYS[3], id, ARGV[at + 2])
    redis.call('HSET', KEYS[5], id, ARGV[at + 2])
    redis.call('ZADD', KEYS[6], due, id)
  end
end
return 1
