-- Put before every script that asks for it.
-- Names the history that Redis is in: a failover or a restart begins another, and may have lost what was written last.
-- '' if it may not be asked for.
local function history()
  local info = redis.pcall('INFO', 'replication')
  return type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
end
