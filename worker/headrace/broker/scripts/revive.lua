-- Sends a dead letter again: it leaves the list, its failure is deleted, and it is last in its queue.
-- KEYS: the list of dead letters, the queue, the key of the result, why
-- each dead letter is one. ARGV: the message.
-- Returns whether it was in the list.
if not redis.call('LPOS', KEYS[1], ARGV[1]) then return 0 end
-- Hazard: first, since Redis may refuse it.
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('LREM', KEYS[1], 1, ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[4], redis.sha1hex(ARGV[1]))
return 1
