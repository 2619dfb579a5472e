-- Writes chunks of the checkpoint and the time when it was taken, by the owner's clock and by Redis's, because it may arrive much
-- later. Fenced.
-- KEYS: lease, checkpoint   ARGV: epoch, write, both as Unix ms, 1 if it is all there is and replaces what stands there, then for
-- each chunk: number, rows
-- Returns: 1.
if ARGV[5] == '1' then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[2], 'at', ARGV[3], 'taken', ARGV[4])
for at = 6, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
end
return 1
