-- Puts records of a hash in place of those that were read, where these still stand. Fenced.
-- KEYS: lease, hash   ARGV: epoch, write, then field, record read and record to be, for each
-- Returns: 1.
for at = 3, #ARGV, 3 do
  if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[at + 1] then redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 2]) end
end
return 1
