-- Returns claims to the head of their queues, in the order in which they were claimed. One whose list is
-- of another type waits for its time.
-- KEYS: the claims, what has begun of them, the messages that wait for their time.
-- ARGV: how many bytes at most (one message is returned in any case), seconds until a message is tried
-- again, then numbers of claims, the latest first.
-- Returns how many were returned, and how many of the numbers are dealt with.
local FIRST = 3
local bytes, returned = tonumber(ARGV[1]), 0
for each = FIRST, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[each])
  if value then
    local cut = string.find(value, '\n', 1, true)
    local pushed = redis.pcall('RPUSH', string.sub(value, 1, cut - 1), string.sub(value, cut + 1))
    if type(pushed) == 'table' and pushed.err then
      if not string.find(pushed.err, 'WRONGTYPE', 1, true) then return pushed end
      redis.call('ZADD', KEYS[3], redis.call('TIME')[1] + ARGV[2], value)
    else
      returned = returned + 1
    end
    redis.call('HDEL', KEYS[1], ARGV[each])
    redis.call('HDEL', KEYS[2], ARGV[each])
    bytes = bytes - #value
    if bytes <= 0 then return { returned, each - FIRST + 1 } end
  end
end
return { returned, #ARGV - FIRST + 1 }
