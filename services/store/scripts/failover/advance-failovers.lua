-- Begins another attempt of failovers, once each: the verdict goes into the log and waits for its acknowledgement again.
-- KEYS: attempts, failed, progress, due, failover, unacked, verdicts
-- ARGV: entries kept in the log, then for each: verdict id, present attempt, '' if that is not acknowledged, next attempt, Verdicts
--       message of one, FailoverProgress as JSON, due (Unix ms)
-- Returns: for each 1, or 0 if it has changed since it was read: another worker did it, or it has ended.
local function stands(id, attempt, failed)
  return redis.call('ZSCORE', KEYS[4], id) and (redis.call('HGET', KEYS[1], id) or '0') == attempt
    and (redis.call('HEXISTS', KEYS[2], id) == 1) == (failed ~= '')
end
local begun, entry = {}, {}
for at = 2, #ARGV, 7 do
  local id, verdict = ARGV[at], ARGV[at + 4]
  local may = stands(id, ARGV[at + 1], ARGV[at + 2])
  begun[#begun + 1] = may and 1 or 0
  if may then
    redis.call('HSET', KEYS[1], id, ARGV[at + 3])
    redis.call('HDEL', KEYS[2], id)
    redis.call('HSET', KEYS[3], id, ARGV[at + 5])
    redis.call('ZADD', KEYS[4], ARGV[at + 6], id)
    redis.call('HDEL', KEYS[5], id)
    redis.call('HSET', KEYS[6], id, verdict)
    entry[#entry + 1] = verdict
  end
end
if #entry > 0 then redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[1], '*', 'v', table.concat(entry)) end
return begun
