-- Claims messages: registers them under the worker's lease, then trims their lists.
-- KEYS: the lease, the claims, all incarnations, the attempts that jobs have lost, the revoked jobs,
-- then the lists, most urgent first.
-- ARGV: the incarnation, the worker's name, the number of the first claim, how many bytes at most (one
-- message is taken in any case), then for each list how many messages at most, or -1 for what the lists
-- before it have left.
-- Returns for each list its messages, oldest first, and then how many jobs have lost attempts, how many
-- are revoked, whether the bytes were the limit, and the lists that cannot be read; an error if the lease
-- has run out, or its worker has given this call up.
local least = redis.call('GET', KEYS[1])
if not least then return redis.error_reply('LEASE_LOST the lease has run out') end
-- Hazard: a call that the network held back. Nobody would hold what it takes while the lease lives.
if tonumber(ARGV[3]) < tonumber(least) then
  return redis.error_reply('LATE the worker does not wait for this claim any more')
end
local PAGE = 16
local number, bytes, left, full = tonumber(ARGV[3]), tonumber(ARGV[4]), 0, 0
local unreadable = {}

-- Up to `left` messages of a list, oldest first; no more than the bytes allow, and nothing of another type.
local function read(list)
  local taken = {}
  while left > 0 and full == 0 do
    local last = -#taken - 1
    local page = redis.pcall('LRANGE', list, last - math.min(PAGE, left) + 1, last)
    if page.err then
      unreadable[#unreadable + 1] = list
      return taken
    end
    for position = #page, 1, -1 do
      taken[#taken + 1] = page[position]
      left, bytes = left - 1, bytes - #page[position]
      if bytes <= 0 then
        full = 1
        return taken
      end
    end
    if #page < PAGE then return taken end
  end
  return taken
end

-- Hazard: all is read before anything is written.
local found = {}
for each = 6, #KEYS do
  local most = tonumber(ARGV[each - 1])
  if most >= 0 then left = most end
  found[each] = read(KEYS[each])
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
local claimed = {}
for each = 6, #KEYS do
  local list, messages = KEYS[each], found[each]
  local fields = {}
  for position = 1, #messages do
    fields[#fields + 1] = number
    fields[#fields + 1] = list .. '\n' .. messages[position]
    number = number + 1
  end
  if #messages > 0 then
    -- Hazard: one command, and before the trim. If Redis is full it fails as a whole, the script
    -- ends here, and the messages are still in their list.
    redis.call('HSET', KEYS[2], unpack(fields))
    redis.call('LTRIM', list, 0, -#messages - 1)
  end
  claimed[#claimed + 1] = messages
end
claimed[#claimed + 1] = redis.call('HLEN', KEYS[4])
claimed[#claimed + 1] = redis.call('ZCARD', KEYS[5])
claimed[#claimed + 1] = full
claimed[#claimed + 1] = unreadable
return claimed
