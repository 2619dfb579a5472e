-- Forgets that SAs were declared dead: they answered after all. Fenced.
-- KEYS: lease, dead   ARGV: epoch, write, then SPI pairs   Returns: 1.
for at = 3, #ARGV do redis.call('HDEL', KEYS[2], ARGV[at]) end
return 1
