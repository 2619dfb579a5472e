-- Writes and removes SAs, all or nothing.
-- KEYS: lease, sas, keys, dead
-- ARGV: epoch, number of SAs written, then for each: SPI pair, Sa, sealed keys or ''; then SPI pairs removed
-- Returns: 1, or -1 if the epoch is stale. Empty keys leave those held in place.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return -1 end
local written = tonumber(ARGV[2])
for n = 0, written - 1 do
  local at = 3 + n * 3
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  if ARGV[at + 2] ~= '' then redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 2]) end
end
for at = 3 + written * 3, #ARGV do
  redis.call('HDEL', KEYS[2], ARGV[at])
  redis.call('HDEL', KEYS[3], ARGV[at])
  redis.call('HDEL', KEYS[4], ARGV[at])
end
return 1
