-- Appends verdicts to the log, once each: an SA that has a verdict gets no second one. Fenced.
-- KEYS: lease, verdicts, unacked, dead, failover
-- ARGV: epoch, write, entries kept in the log, then for each: SPI pair, verdict id, Verdict
-- Returns: 1. Repeating a call changes nothing.
for at = 4, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[4], ARGV[at], ARGV[at + 1]) == 1 then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'v', ARGV[at + 2])
    redis.call('HSET', KEYS[3], ARGV[at + 1], ARGV[at + 2])
    redis.call('HSET', KEYS[5], ARGV[at + 1], ARGV[at + 2])
  end
end
return 1
