-- Returns messages whose time has come to the heads of their queues, the earliest first.
-- KEYS: the messages that wait for their time. ARGV: how many at most.
-- Returns how many.
local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1e6)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for position = #due, 1, -1 do
  local value = due[position]
  local cut = string.find(value, '\n', 1, true)
  redis.call('RPUSH', string.sub(value, 1, cut - 1), string.sub(value, cut + 1))
  redis.call('ZREM', KEYS[1], value)
end
return #due
