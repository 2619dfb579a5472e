-- Takes the lease of a shard with a new epoch: from any holder, or only if no other node holds it. A shard without a checkpoint
-- gets an empty one, so that the time without a checkpoint is known.
-- KEYS: lease, checkpoint   ARGV: node, ttl ms, epoch under which the lease may be held, '' for any
-- Returns: -1 if another node holds it that is not allowed to; otherwise the new epoch, the time (Unix ms), and the number of the
-- last write under the former epoch that Redis knows of, -1 if it knows of no lease.
-- Epochs follow the clock, so that a Redis which lost its last writes, or all of them, does not give one twice.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HGET', KEYS[1], 'epoch')
if held and ARGV[3] ~= '' and held ~= ARGV[3] then return -1 end
-- An invalid epoch is ignored: from 2^53 on numbers are not exact.
local former = tonumber(held or '0') or 0
if former ~= former or former >= 2 ^ 53 then former = 0 end
local epoch = math.max(former + 1, now)
local written = held and (tonumber(redis.call('HGET', KEYS[1], 'written') or '0') or 0) or -1
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'node', ARGV[1], 'written', '0',
  'until', string.format('%.0f', now + tonumber(ARGV[2])))
redis.call('HSETNX', KEYS[2], 'taken', string.format('%.0f', now))
return { epoch, now, written }
