-- Returns messages whose time has come to the heads of their queues, the earliest first. One whose list is
-- of another type waits on.
-- KEYS: the messages that wait for their time.
-- ARGV: how many at most, how many bytes at most (one message is returned in any case), seconds until a
-- message is tried again.
-- Returns how many were returned, and the lists that cannot be written.
local PAGE = 16
local time = redis.call('TIME')
local now = string.format('%.6f', time[1] + time[2] / 1e6)
local left, bytes, due = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
while left > 0 and bytes > 0 do
  local page = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', #due, math.min(PAGE, left))
  for position = 1, #page do
    if bytes > 0 then
      due[#due + 1] = page[position]
      left, bytes = left - 1, bytes - #page[position]
    end
  end
  if #page < PAGE then break end
end
local returned, unwritable = 0, {}
for position = #due, 1, -1 do
  local value = due[position]
  local cut = string.find(value, '\n', 1, true)
  local list = string.sub(value, 1, cut - 1)
  local pushed = redis.pcall('RPUSH', list, string.sub(value, cut + 1))
  if type(pushed) == 'table' and pushed.err then
    if not string.find(pushed.err, 'WRONGTYPE', 1, true) then return pushed end
    unwritable[#unwritable + 1] = list
    redis.call('ZADD', KEYS[1], now + ARGV[3], value)
  else
    redis.call('ZREM', KEYS[1], value)
    returned = returned + 1
  end
end
return { returned, unwritable }
