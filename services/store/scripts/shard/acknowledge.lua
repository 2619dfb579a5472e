-- Notes what a data plane made of verdicts. What is left of their failovers keeps them.
-- KEYS: unacked, failover, acks, attempts, due   ARGV: for each, 1,000 at most: verdict id, attempt, acknowledgement as JSON
-- Returns: for each 1, or 0 if that attempt of the verdict was not waiting for one.
local ids = {}
for at = 1, #ARGV, 3 do ids[#ids + 1] = ARGV[at] end
if #ids == 0 then return {} end
local waiting = redis.call('HMGET', KEYS[1], unpack(ids))
local attempts = redis.call('HMGET', KEYS[4], unpack(ids))
local known, taken = {}, {}
local done, messages, acks, dues = {}, {}, {}, {}
for n, id in ipairs(ids) do
  known[n] = 0
  if waiting[n] and not taken[id] and ARGV[3 * n - 1] == (attempts[n] or '0') then
    known[n] = 1
    taken[id] = true
    done[#done + 1] = id
    if redis.call('ZSCORE', KEYS[5], id) then
      messages[#messages + 1] = id
      messages[#messages + 1] = waiting[n]
      acks[#acks + 1] = id
      acks[#acks + 1] = ARGV[3 * n]
      dues[#dues + 1] = '0'
      dues[#dues + 1] = id
    end
  end
end
if #done == 0 then return known end
redis.call('HDEL', KEYS[1], unpack(done))
if #acks == 0 then return known end
redis.call('HSET', KEYS[2], unpack(messages))
redis.call('HSET', KEYS[3], unpack(acks))
redis.call('ZADD', KEYS[5], unpack(dues))
return known
