-- Makes sure that Redis still has a write, and writes something after it, so that a WAIT on this connection covers it.
-- Fenced.
-- KEYS: lease   ARGV: epoch, write / the same   Returns: 1.
redis.call('HSET', KEYS[1], 'confirmed', ARGV[2])
return 1
