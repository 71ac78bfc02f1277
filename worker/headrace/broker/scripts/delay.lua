-- Puts a claimed message aside until its time; changes nothing if it is claimed no more.
-- KEYS: the claims, what has begun of them, the messages that wait for their time.
-- ARGV: the number of the claim, epoch seconds.
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value then
  redis.call('ZADD', KEYS[3], ARGV[2], value)
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
