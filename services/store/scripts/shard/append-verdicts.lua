-- Appends verdicts to the log as one entry, once each: an SA that has a verdict gets no second one. Fenced.
-- KEYS: lease, verdicts, unacked, dead, due
-- ARGV: epoch, write, entries kept in the log, ms until their failover is looked at,
--       then of verdicts, 1,000 at most, each: lengths of its id and message (1 and 2 bytes, big-endian) and its id, which is
--       the SPI pair up to a full stop,
--       then the verdicts themselves, each a Verdicts message of one behind its MAC
-- Returns: 1. Repeating a call changes nothing.
local spis, ids, verdicts, at, from = {}, {}, {}, 1, 1
while at <= #ARGV[5] do
  local id, verdict, begin = struct.unpack('>BI2', ARGV[5], at)
  at = begin + id
  ids[#ids + 1] = ARGV[5]:sub(begin, at - 1)
  spis[#spis + 1] = ids[#ids]:match('^[^.]+')
  verdicts[#verdicts + 1] = ARGV[6]:sub(from, from + verdict - 1)
  from = from + verdict
end
if #spis == 0 then return 1 end
local known = redis.call('HMGET', KEYS[4], unpack(spis))
local time = redis.call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[4]))
-- One command for all verdicts is several times as fast as one for each.
local dead, entry, messages, dues = {}, {}, {}, {}
local given = {}
for n, spi in ipairs(spis) do
  local id, verdict = ids[n], verdicts[n]
  if not known[n] and not given[spi] then
    given[spi] = true
    dead[#dead + 1] = spi
    dead[#dead + 1] = id
    entry[#entry + 1] = verdict
    messages[#messages + 1] = id
    messages[#messages + 1] = verdict
    dues[#dues + 1] = due
    dues[#dues + 1] = id
  end
end
if #dead == 0 then return 1 end
redis.call('HSET', KEYS[4], unpack(dead))
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'v', #entry == #spis and ARGV[6] or table.concat(entry))
redis.call('HSET', KEYS[3], unpack(messages))
redis.call('ZADD', KEYS[5], unpack(dues))
return 1
