-- Returns: the name of the history that Redis is in, of history.lua.
-- KEYS: any of the shard's, as its node is asked
return history()
