-- Commits outcomes: of each job that is claimed still, stores the results and drops the claim.
-- KEYS: the claims, what has begun of them, the attempts that jobs have lost, then the key of each
-- result.
-- ARGV: seconds that results are kept, then for each job the number of its claim ('' for a result
-- that no claim stands for), its id if it has lost attempts, else '', and how many results it has,
-- then for each of these state, value, channel ('' for none) and what is published there.
-- Returns for each job 'done', 'gone' if it was reaped, or what Redis said to its result.
local FINAL = { SUCCESS = true, FAILURE = true, REVOKED = true }

local function is_final(key)
  -- In Celery's JSON and in our msgpack alike, the state is the first word in capitals.
  local head = redis.pcall('GETRANGE', key, 0, 63)
  return type(head) == 'string' and FINAL[string.match(head, 'status[^%u]*(%u+)')]
end

local function store(key, state, value, channel, notice)
  if is_final(key) then return end
  local stored
  if tonumber(ARGV[1]) > 0 then
    stored = redis.pcall('SET', key, value, 'EX', ARGV[1])
  else
    stored = redis.pcall('SET', key, value)
  end
  if stored.err then return stored.err end
  if channel ~= '' then redis.call('PUBLISH', channel, notice) end
end

local answers = {}
local key, at = 4, 2
while at <= #ARGV do
  local number, lost, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local claimed = number == '' or redis.call('HEXISTS', KEYS[1], number) == 1
  local answer = claimed and 'done' or 'gone'
  at = at + 3
  for _ = 1, count do
    if answer == 'done' then
      answer = store(KEYS[key], unpack(ARGV, at, at + 3)) or answer
    end
    key, at = key + 1, at + 4
  end
  -- Hazard: last. A claim whose result Redis refuses stays, and is committed again.
  if answer == 'done' and number ~= '' then
    redis.call('HDEL', KEYS[1], number)
    redis.call('HDEL', KEYS[2], number)
    if lost ~= '' then redis.call('HDEL', KEYS[3], lost) end
  end
  answers[#answers + 1] = answer
end
return answers
