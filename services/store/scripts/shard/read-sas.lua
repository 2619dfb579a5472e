-- Reads a page of SAs: one reply in place of two values an SA.
-- KEYS: sas
-- ARGV: cursor, SAs wanted, roughly
-- Returns: the next cursor, 0 at the end; SPI pairs, 32 bytes each; where each record ends (little-endian, 4 bytes each); the
-- records; and names of other entries, which are no SPI pairs
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local spis, ends, records, others, length = {}, {}, {}, {}, 0
for at = 1, #page[2], 2 do
  local spi, record = page[2][at], page[2][at + 1]
  if #spi ~= 32 or spi:find('[^0-9a-f]') then others[#others + 1] = spi
  else
    spis[#spis + 1] = spi
    records[#records + 1] = record
    length = length + #record
    ends[#ends + 1] = struct.pack('<I4', length)
  end
end
return { page[1], table.concat(spis), table.concat(ends), table.concat(records), others }
