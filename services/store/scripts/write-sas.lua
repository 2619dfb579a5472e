-- Writes and removes SAs, all or nothing. Fenced.
-- KEYS: lease, sas, dead
-- ARGV: epoch, write, number of SAs written with keys, and without, then for each of these and those: SPI pair, record (see
-- workers/sa-page.ts); then SPI pairs removed
-- Returns: 1. SAs written without keys keep those held in place.
local PAIRS = 1000
local at = 5
local keyless = at + 2 * tonumber(ARGV[3])
local removed = keyless + 2 * tonumber(ARGV[4])
while at < keyless do
  local to = math.min(at + 2 * PAIRS, keyless) - 1
  redis.call('HSET', KEYS[2], unpack(ARGV, at, to))
  at = to + 1
end
while at < removed do
  local old = redis.call('HGET', KEYS[2], ARGV[at])
  local keys = old and #old > 1 and old:sub(3 + struct.unpack('>I2', old)) or ''
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1] .. keys)
  at = at + 2
end
while at <= #ARGV do
  local to = math.min(at + PAIRS - 1, #ARGV)
  for n = 2, 3 do redis.call('HDEL', KEYS[n], unpack(ARGV, at, to)) end
  at = to + 1
end
return 1
