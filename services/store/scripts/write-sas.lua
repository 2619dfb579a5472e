-- Writes and removes SAs, all or nothing. Fenced.
-- KEYS: lease, sas, keys, dead
-- ARGV: epoch, write, number of SAs written, number of keys written, then for each SA: SPI pair, Sa; for each key: SPI pair,
-- sealed keys; then SPI pairs removed
-- Returns: 1. SAs written without keys keep those held in place.
local PAIRS = 1000
local at = 5
local function set(key, count)
  local last = at + 2 * count - 1
  while at <= last do
    local to = math.min(at + 2 * PAIRS - 1, last)
    redis.call('HSET', key, unpack(ARGV, at, to))
    at = to + 1
  end
end
set(KEYS[2], tonumber(ARGV[3]))
set(KEYS[3], tonumber(ARGV[4]))
while at <= #ARGV do
  local to = math.min(at + PAIRS - 1, #ARGV)
  for n = 2, 4 do redis.call('HDEL', KEYS[n], unpack(ARGV, at, to)) end
  at = to + 1
end
return 1
