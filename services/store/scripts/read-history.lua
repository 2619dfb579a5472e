-- Names the history that Redis is in: a failover or a restart begins another, and may have lost what was written last.
-- KEYS: any of the shard's, as its node is asked
-- Returns: the name; '' if it may not be asked for.
local info = redis.pcall('INFO', 'replication')
return type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
