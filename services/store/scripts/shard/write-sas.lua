-- Writes and removes SAs, all or nothing. Fenced.
-- KEYS: lease, sas, dead, translated
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
  local to = math.min(at + 2 * PAIRS, removed) - 1
  local spis, fields, written = {}, {}, {}
  for n = at, to, 2 do spis[#spis + 1] = ARGV[n] end
  for n, old in ipairs(redis.call('HMGET', KEYS[2], unpack(spis))) do
    -- An SA that comes twice is written twice.
    old = written[spis[n]] or old
    local keys = old and #old > 1 and old:sub(3 + struct.unpack('>I2', old)) or ''
    written[spis[n]] = ARGV[at + 2 * n - 1] .. keys
    fields[2 * n - 1], fields[2 * n] = spis[n], written[spis[n]]
  end
  redis.call('HSET', KEYS[2], unpack(fields))
  at = to + 1
end
while at <= #ARGV do
  local to = math.min(at + PAIRS - 1, #ARGV)
  for n = 2, 4 do redis.call('HDEL', KEYS[n], unpack(ARGV, at, to)) end
  at = to + 1
end
return 1
