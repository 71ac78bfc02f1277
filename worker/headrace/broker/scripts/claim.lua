-- Claims messages: registers them under the worker's lease, then trims their lists.
-- KEYS: the lease, the claims, all incarnations, the attempts that jobs have lost, the revision of what
-- was revoked, then the lists, most urgent first.
-- ARGV: the incarnation, the worker's name, the number of the first claim, then for each list how
-- many at most, or -1 for what the lists before it have left.
-- Returns for each list its messages, oldest first, and then how many jobs have lost attempts, and the
-- revision; an error if the lease has run out.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return redis.error_reply('LEASE_LOST the lease has run out')
end
local number, left = tonumber(ARGV[3]), 0
local found, claimed = {}, {}
-- Hazard: all is read before anything is written, since a key of another type ends the script.
for each = 6, #KEYS do
  local most = tonumber(ARGV[each - 2])
  if most >= 0 then left = most end
  found[each] = left > 0 and redis.call('LRANGE', KEYS[each], -left, -1) or {}
  left = left - #found[each]
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
for each = 6, #KEYS do
  local list, messages = KEYS[each], found[each]
  local fields, taken = {}, {}
  for position = #messages, 1, -1 do
    fields[#fields + 1] = number
    fields[#fields + 1] = list .. '\n' .. messages[position]
    taken[#taken + 1] = messages[position]
    number = number + 1
  end
  if #messages > 0 then
    -- Hazard: one command, and before the trim. If Redis is full it fails as a whole, the script
    -- ends here, and the messages are still in their list.
    redis.call('HSET', KEYS[2], unpack(fields))
    redis.call('LTRIM', list, 0, -#messages - 1)
  end
  claimed[#claimed + 1] = taken
end
claimed[#claimed + 1] = redis.call('HLEN', KEYS[4])
claimed[#claimed + 1] = tonumber(redis.call('GET', KEYS[5]) or 0)
return claimed
