-- Writes chunks of the checkpoint and the time of writing. Fenced.
-- KEYS: lease, checkpoint   ARGV: epoch, '', Unix ms, then for each chunk: number, rows   Returns: 1.
redis.call('HSET', KEYS[2], 'at', ARGV[3])
for at = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
end
return 1
