-- Notes what a data plane did about verdicts. Successful failovers end here; the others go on.
-- KEYS: attempts, failed, progress, due, failover, unacked, dead-letters
-- ARGV: for each, 1,000 at most: verdict id, attempt, why it failed, or '' if it succeeded
-- Returns: for each 1, or 0 if that attempt of the verdict was not waiting for one.
local ids = {}
for at = 1, #ARGV, 3 do ids[#ids + 1] = ARGV[at] end
if #ids == 0 then return {} end
local waiting = redis.call('HMGET', KEYS[6], unpack(ids))
local attempts = redis.call('HMGET', KEYS[1], unpack(ids))
local known, taken = {}, {}
local done, over, ended = {}, {}, {}
local messages, reasons, dues = {}, {}, {}
for n, id in ipairs(ids) do
  known[n] = 0
  if waiting[n] and not taken[id] and ARGV[3 * n - 1] == (attempts[n] or '0') then
    known[n] = 1
    taken[id] = true
    done[#done + 1] = id
    local why = ARGV[3 * n]
    if why == '' then over[#over + 1] = id end
    if why ~= '' and redis.call('ZSCORE', KEYS[4], id) then
      messages[#messages + 1] = id
      messages[#messages + 1] = waiting[n]
      reasons[#reasons + 1] = id
      reasons[#reasons + 1] = why
      dues[#dues + 1] = '0'
      dues[#dues + 1] = id
    else ended[#ended + 1] = id end
  end
end
if #done == 0 then return known end
redis.call('HDEL', KEYS[6], unpack(done))
if #ended > 0 then
  redis.call('HDEL', KEYS[1], unpack(ended))
  redis.call('HDEL', KEYS[3], unpack(ended))
  redis.call('ZREM', KEYS[4], unpack(ended))
end
-- A failover that was given up may have succeeded after all.
if #over > 0 then redis.call('HDEL', KEYS[7], unpack(over)) end
if #reasons > 0 then
  redis.call('HSET', KEYS[5], unpack(messages))
  redis.call('HSET', KEYS[2], unpack(reasons))
  redis.call('ZADD', KEYS[4], unpack(dues))
end
return known
