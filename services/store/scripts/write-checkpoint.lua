-- Writes chunks of the checkpoint and the time of writing, by the owner's clock and by Redis's. Fenced.
-- KEYS: lease, checkpoint   ARGV: epoch, '', Unix ms, 1 if it is the owner's last, then for each chunk: number, rows
-- Returns: 1.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[2], 'at', ARGV[3], 'stored', now, 'final', ARGV[4])
for at = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
end
return 1
