-- Returns the jobs of workers whose lease has run out to the head of their queues, in order.
-- KEYS: all incarnations with the names of their workers, the attempts that jobs have lost: of each
-- a line `<worker> <epoch seconds>`.
-- ARGV: prefix of the other keys, seconds of a lease, how many jobs at most, seconds that lost attempts
-- are remembered after the last of them, how many bytes at most (one job is returned in any case).
-- Returns how many jobs were returned.
local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
if uptime <= tonumber(ARGV[2]) then
  -- Redis has restarted: a lease that ran out meanwhile is no sign of death.
  return 0
end
local left, bytes = tonumber(ARGV[3]), tonumber(ARGV[5])
local returned = 0
local now = redis.call('TIME')[1]
for _, incarnation in ipairs(redis.call('HKEYS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. 'lease:' .. incarnation) == 0 then
    local claims, begun = ARGV[1] .. 'claims:' .. incarnation, ARGV[1] .. 'begun:' .. incarnation
    local numbers = redis.call('HKEYS', claims)
    table.sort(numbers, function(one, other) return tonumber(one) > tonumber(other) end)
    local stuck = false
    for _, number in ipairs(numbers) do
      if left <= 0 or bytes <= 0 then return returned end
      local value = redis.call('HGET', claims, number)
      local cut = string.find(value, '\n', 1, true)
      local pushed = redis.pcall('RPUSH', string.sub(value, 1, cut - 1), string.sub(value, cut + 1))
      if type(pushed) == 'table' and pushed.err then
        -- Its list is of another type, say: the other jobs go on, and this one is tried again.
        stuck = true
      else
        redis.call('HDEL', claims, number)
        local job = redis.call('HGET', begun, number)
        if job then
          local lost = redis.call('HGET', KEYS[2], job)
          local line = redis.call('HGET', KEYS[1], incarnation) .. ' ' .. now
          redis.call('HSET', KEYS[2], job, lost and (lost .. '\n' .. line) or line)
          redis.call('EXPIRE', KEYS[2], ARGV[4])
        end
        left, bytes, returned = left - 1, bytes - #value, returned + 1
      end
    end
    if not stuck then
      redis.call('DEL', begun)
      redis.call('HDEL', KEYS[1], incarnation)
    end
  end
end
return returned
