-- Takes the lease of a shard: a new epoch, whoever held it before, or only if nobody else does.
-- A shard without a checkpoint gets an empty one, so that the age of what it does not tell of is known.
-- KEYS: lease, checkpoint   ARGV: node, ttl ms, epoch under which the lease may be held, '' for any, 1 if its headend is
-- connected, for how long an owner that did not stop may go on, ms: another that did not give its lease back, or, where an
-- epoch is given, one that Redis has forgotten
-- Returns: -1 if another holds it who may not; else
--   the new epoch;
--   whether the checkpoint was its owner's last word, which from now on it is not: 0 no, 1 yes, 2 yes, but Redis may have lost
--   who had the shard since;
--   for how long an owner before this one may still go on, however many have come and gone since, ms;
--   the time, Unix ms;
--   until when the lease held, Unix ms, 0 if nobody knows;
--   `since`, of renew-lease.lua;
--   the number of the last write under the former epoch that Redis knows of, -1 if it knows of no lease.
-- Epochs follow the clock, so that a Redis which lost its last writes, or all of them, does not give one twice.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HGET', KEYS[1], 'epoch')
if held and ARGV[3] ~= '' and held ~= ARGV[3] then return -1 end
local epoch = math.max(tonumber(held or '0') + 1, now)
local ttl, unstopped = tonumber(ARGV[2]), tonumber(ARGV[5])
local written = held and tonumber(redis.call('HGET', KEYS[1], 'written') or '0') or -1
local ends = tonumber(redis.call('HGET', KEYS[1], 'until') or '0')
local another = redis.call('HGET', KEYS[1], 'node') ~= ARGV[1]
if held then redis.call('HSET', KEYS[1], 'since', string.format('%.0f', now)) end
-- A failover begins another history, and may have lost who had the shard since. Who may not ask does not know either.
local current = history()
local function surelyLast(key) return current ~= '' and redis.call('HGET', key, 'history') == current end
local final = 0
if redis.call('HGET', KEYS[2], 'final') == '1' then
  final = surelyLast(KEYS[2]) and 1 or 2
  redis.call('HSET', KEYS[2], 'final', '0')
end
local former = tonumber(redis.call('HGET', KEYS[1], 'former') or '0')
if ARGV[3] ~= '' then former = math.max(former, now + unstopped)
elseif ends > 0 and not surelyLast(KEYS[1]) then former = math.max(former, now + math.max(ttl, unstopped))
elseif ends > 0 and another then former = math.max(former, ends, now + unstopped) end
if final == 2 then former = math.max(former, now + ttl) end
-- A clock that was set back must not make it any longer.
former = math.min(former, now + math.max(ttl, unstopped))
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'node', ARGV[1], 'written', '0', 'attended', ARGV[4],
  'until', string.format('%.0f', now + ttl), 'former', string.format('%.0f', former), 'history', current)
redis.call('HSETNX', KEYS[2], 'taken', string.format('%.0f', now))
local since = tonumber(redis.call('HGET', KEYS[1], 'since') or '0')
return { epoch, final, math.max(0, former - now), now, ends, since, written }
