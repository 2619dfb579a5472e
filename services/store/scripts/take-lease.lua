-- Takes the lease of a shard: a new epoch, whoever held it before, or only if nobody else does.
-- A shard without a checkpoint gets an empty one, so that the age of what it does not tell of is known.
-- KEYS: lease, checkpoint   ARGV: node, ttl ms, epoch under which the lease may be held, '' for any
-- Returns: -1 if another holds it who may not; else the new epoch; 1 if the checkpoint was its owner's last word, which from now on it is not, else 0;
-- for how long the lease of another node would still have held, ms; the time, Unix ms; and until when the lease held, Unix ms, 0 if
-- nobody knows.
-- Epochs follow the clock, so that a Redis which lost its last writes, or all of them, does not give one twice.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HGET', KEYS[1], 'epoch')
if held and ARGV[3] ~= '' and held ~= ARGV[3] then return -1 end
local epoch = math.max(tonumber(held or '0') + 1, now)
local ends = tonumber(redis.call('HGET', KEYS[1], 'until') or '0')
local another = redis.call('HGET', KEYS[1], 'node') ~= ARGV[1]
local remaining = another and math.max(0, ends - now) or 0
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'node', ARGV[1], 'written', '0', 'attended', '0',
  'until', string.format('%.0f', now + tonumber(ARGV[2])))
redis.call('HSETNX', KEYS[2], 'taken', string.format('%.0f', now))
local final = redis.call('HGET', KEYS[2], 'final') == '1' and 1 or 0
if final == 1 then redis.call('HSET', KEYS[2], 'final', '0') end
return { epoch, final, remaining, now, ends }
