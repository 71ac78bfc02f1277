-- Puts a message aside and drops its claim; changes nothing if it is claimed no more.
-- KEYS: the claims, what has begun of them, the list of dead letters, the attempts that jobs have lost,
-- since when and why each dead letter is one.
-- ARGV: the number of the claim, the message, the job's id, or '' if it cannot be read, and the reason.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  -- Hazard: in this order. If Redis refuses one of them the script ends there, and is tried again.
  redis.call('HSET', KEYS[5], redis.sha1hex(ARGV[2]), redis.call('TIME')[1] .. '\n' .. ARGV[4])
  redis.call('LPUSH', KEYS[3], ARGV[2])
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  if ARGV[3] ~= '' then redis.call('HDEL', KEYS[4], ARGV[3]) end
end
