-- Notes which message ids requests of the headend's daemon have, before they are sent. Fenced.
-- KEYS: lease, translated   ARGV: epoch, write, then for each: SPI pair, the daemon's id and the true one with a colon between
-- Returns: 1.
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
return 1
