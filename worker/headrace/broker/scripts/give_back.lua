-- Returns claims to the head of their queues, in the order in which they were claimed.
-- KEYS: the claims, what has begun of them.
-- ARGV: numbers of claims, the latest first.
-- Returns how many were still claimed.
local returned = 0
for _, number in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], number)
  if value then
    local cut = string.find(value, '\n', 1, true)
    redis.call('RPUSH', string.sub(value, 1, cut - 1), string.sub(value, cut + 1))
    redis.call('HDEL', KEYS[1], number)
    redis.call('HDEL', KEYS[2], number)
    returned = returned + 1
  end
end
return returned
