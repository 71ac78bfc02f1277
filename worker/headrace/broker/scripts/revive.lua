-- Sends a dead letter again: it leaves the list, its failure is deleted, and it is last in its queue.
-- KEYS: the list of dead letters, the queue, the key of the result. ARGV: the message.
-- Returns whether it was in the list.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
