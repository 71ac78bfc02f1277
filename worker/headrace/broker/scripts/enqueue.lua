-- Queues messages, unless too many wait already or an earlier call queued them under the same key.
-- KEYS: the list, then the other lists of the model; after them, if ARGV[1] is not 0, the
-- idempotency key.
-- ARGV: seconds that the idempotency key is kept (0: there is none), the id to keep under it, how
-- many messages may wait at most (-1: any number), then the messages.
-- Returns a word, and the messages that wait or the earlier id.
local keep, most = tonumber(ARGV[1]), tonumber(ARGV[3])
local lists = #KEYS
if keep > 0 then
  lists = lists - 1
  local earlier = redis.call('GET', KEYS[#KEYS])
  if earlier then return { 'earlier', earlier } end
end
if most >= 0 then
  local depth = 0
  for each = 1, lists do depth = depth + redis.call('LLEN', KEYS[each]) end
  if depth + #ARGV - 3 > most then return { 'full', depth } end
end
-- Hazard: one command, so that all are queued or none. A caller sends a few hundred at most.
redis.call('LPUSH', KEYS[1], unpack(ARGV, 4))
if keep > 0 then redis.call('SET', KEYS[#KEYS], ARGV[2], 'EX', keep) end
return { 'queued', 0 }
