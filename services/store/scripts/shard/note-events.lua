-- Notes events of peers; only the latest are kept. Fenced.
-- KEYS: lease, history, noted
-- ARGV: epoch, '', Unix ms, events kept of a peer, peers kept,
--       then of events each: its peer, and a GetPeerHistoryResponse of one
-- Returns: 1.
local most = tonumber(ARGV[4])

-- Where the entry that begins at a byte ends: its length is a varint behind the tag.
local function after(bytes, at)
  local length, factor = 0, 1
  repeat
    at = at + 1
    local byte = bytes:byte(at)
    if not byte then return #bytes + 1 end
    length = length + (byte % 128) * factor
    factor = factor * 128
  until byte < 128
  return at + length + 1
end

for n = 6, #ARGV, 2 do
  local kept = (redis.call('HGET', KEYS[2], ARGV[n]) or '') .. ARGV[n + 1]
  local begins, at = {}, 1
  while at <= #kept do
    begins[#begins + 1] = at
    at = after(kept, at)
  end
  if #begins > most then kept = kept:sub(begins[#begins - most + 1]) end
  redis.call('HSET', KEYS[2], ARGV[n], kept)
  redis.call('ZADD', KEYS[3], ARGV[3], ARGV[n])
end
local beyond = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[5])
if beyond > 0 then
  local oldest = redis.call('ZRANGE', KEYS[3], 0, beyond - 1)
  for _, peer in ipairs(oldest) do
    redis.call('HDEL', KEYS[2], peer)
    redis.call('ZREM', KEYS[3], peer)
  end
end
return 1
