-- Notes that an engine gets jobs; nothing under a lease that has run out, which nobody would clear.
-- KEYS: the lease, what has begun. ARGV: numbers of claims and ids of jobs in turn.
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[2], unpack(ARGV)) end
