-- Writes chunks of the checkpoint and the time of writing.
-- KEYS: lease, checkpoint   ARGV: epoch, Unix ms, then for each chunk: number, rows
-- Returns: 1, or -1 if the epoch is stale.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return -1 end
redis.call('HSET', KEYS[2], 'at', ARGV[2])
for at = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
end
return 1
