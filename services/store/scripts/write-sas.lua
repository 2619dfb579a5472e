-- Writes and removes SAs, all or nothing. Fenced.
-- KEYS: lease, sas, keys, dead
-- ARGV: epoch, write, number of SAs written, then for each: SPI pair, Sa, sealed keys or ''; then SPI pairs removed
-- Returns: 1. Empty keys leave those held in place.
local written = tonumber(ARGV[3])
for n = 0, written - 1 do
  local at = 4 + n * 3
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  if ARGV[at + 2] ~= '' then redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 2]) end
end
for at = 4 + written * 3, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[at])
  redis.call('HDEL', KEYS[3], ARGV[at])
  redis.call('HDEL', KEYS[4], ARGV[at])
end
return 1
