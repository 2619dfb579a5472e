-- Appends verdicts to the log, once each: an SA that has a verdict gets no second one.
-- KEYS: lease, verdicts, unacked, dead
-- ARGV: epoch, entries kept in the log, then for each: SPI pair, verdict id, Verdict
-- Returns: 1, or -1 if the epoch is stale. Repeating a call changes nothing.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return -1 end
for at = 3, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[4], ARGV[at], ARGV[at + 1]) == 1 then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'v', ARGV[at + 2])
    redis.call('HSET', KEYS[3], ARGV[at + 1], ARGV[at + 2])
  end
end
return 1
