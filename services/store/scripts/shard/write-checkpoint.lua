-- Writes chunks of the checkpoint and the time it was taken, by the owner's clock and by Redis's: it may arrive long after. Fenced.
-- KEYS: lease, checkpoint   ARGV: epoch, write, both as Unix ms, 1 if it is the owner's last, 1 if it is all there is and replaces
-- what stands there, then for each chunk: number, rows
-- With the last word goes the history that Redis was in: a failover begins another, and may have lost who had the shard since.
-- Returns: 1.
if ARGV[6] == '1' then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[2], 'at', ARGV[3], 'taken', ARGV[4], 'final', ARGV[5], 'history', ARGV[5] == '1' and history() or '')
for at = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
end
return 1
