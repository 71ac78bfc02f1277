-- Queues messages, unless too many wait already or an earlier call queued them under the same key.
-- KEYS: the list, then the other lists of the model; after them, if ARGV[1] is not 0, the
-- idempotency key and the revoked jobs.
-- ARGV: seconds that the idempotency key is kept (0: there is none), the id to keep under it, how
-- many messages may wait at most (-1: any number), prefix of the keys of results, then the messages.
-- Returns a word, and the messages that wait or the earlier id.
local keep, most = tonumber(ARGV[1]), tonumber(ARGV[3])
local lists = #KEYS
local FIRST = 5

-- Whether a job has an output, or may have one yet.
local function stands(job)
  -- In Celery's JSON and in our msgpack alike, the state is the first word in capitals.
  local head = redis.pcall('GETRANGE', ARGV[4] .. job, 0, 63)
  local state = type(head) == 'string' and string.match(head, 'status[^%u]*(%u+)')
  if state == 'SUCCESS' then return true end
  if state == 'FAILURE' or state == 'REVOKED' then return false end
  return not redis.call('ZSCORE', KEYS[#KEYS], job)
end

if keep > 0 then
  lists = lists - 2
  local earlier = redis.call('GET', KEYS[lists + 1])
  if earlier and stands(earlier) then return { 'earlier', earlier } end
end
if most >= 0 then
  local depth = 0
  for each = 1, lists do depth = depth + redis.call('LLEN', KEYS[each]) end
  if depth + #ARGV - FIRST + 1 > most then return { 'full', depth } end
end
-- Hazard: one command, so that all are queued or none. A caller sends a few hundred at most.
redis.call('LPUSH', KEYS[1], unpack(ARGV, FIRST))
if keep > 0 then redis.call('SET', KEYS[lists + 1], ARGV[2], 'EX', keep) end
return { 'queued', 0 }
