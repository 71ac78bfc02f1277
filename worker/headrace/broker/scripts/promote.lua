-- Makes a waiting message the next one. KEYS: its list. ARGV: the message.
-- Returns whether it was there.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[1])
return 1
