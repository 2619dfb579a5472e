-- Reads a page of SAs: one reply in place of two values an SA.
-- KEYS: sas
-- ARGV: cursor, SAs wanted, roughly
-- Returns: the next cursor, 0 at the end; SPI pairs, 32 bytes each; where each record ends (little-endian, 4 bytes each); and
-- the records
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local spis, ends, records, length = {}, {}, {}, 0
for n = 1, #page[2] / 2 do
  spis[n], records[n] = page[2][2 * n - 1], page[2][2 * n]
  length = length + #records[n]
  ends[n] = struct.pack('<I4', length)
end
return { page[1], table.concat(spis), table.concat(ends), table.concat(records) }
