-- Forgets that SAs were declared dead: they answered after all.
-- KEYS: lease, dead   ARGV: epoch, then SPI pairs   Returns: 1, or -1 if the epoch is stale.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return -1 end
for at = 2, #ARGV do redis.call('HDEL', KEYS[2], ARGV[at]) end
return 1
