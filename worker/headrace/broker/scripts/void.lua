-- Voids claims that were sent and not answered: one that comes late takes nothing.
-- KEYS: the lease, whose value is the number from which on may be claimed, the claims.
-- ARGV: that number from now on.
-- Returns the numbers of what is claimed; none if the lease has run out.
local least = redis.call('GET', KEYS[1])
if not least then return {} end
if tonumber(least) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL') end
return redis.call('HKEYS', KEYS[2])
