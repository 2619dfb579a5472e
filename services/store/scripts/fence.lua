-- Put before every script that writes a shard's state.
-- KEYS: lease, ...   ARGV: epoch, number of this write or '' if its loss does not matter, ...
-- Returns -1 if the shard has a newer owner, -2 if Redis has forgotten the lease; both before anything is written.
local held = redis.call('HGET', KEYS[1], 'epoch')
if not held then return -2 end
if held ~= ARGV[1] then return -1 end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'written', ARGV[2]) end
