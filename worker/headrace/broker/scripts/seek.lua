-- Looks for jobs that somebody waits for: each has a result, or its message is somewhere.
-- KEYS: the messages that wait for their time, all incarnations, the lists of their model, then the results.
-- ARGV: prefix of the other keys, how many lists, then the message of each result's job.
-- Returns for each job whether it is anywhere.
local base, lists = ARGV[1], tonumber(ARGV[2])
local jobs = #ARGV - 2
local found, missing, lengths = {}, {}, {}

local function find_in_lists(job, message)
  for each = 3, lists + 2 do
    local position = redis.pcall('LPOS', KEYS[each], message)
    local value = KEYS[each] .. '\n' .. message
    if type(position) == 'number' or redis.call('ZSCORE', KEYS[1], value) then return true end
    missing[value], lengths[#value] = job, true
  end
end

for job = 1, jobs do
  local answered = redis.call('EXISTS', KEYS[lists + 2 + job]) == 1
  found[job] = (answered or find_in_lists(job, ARGV[job + 2])) and 1 or 0
end
if next(missing) then
  for _, incarnation in ipairs(redis.call('HKEYS', KEYS[2])) do
    local claims = base .. 'claims:' .. incarnation
    for _, number in ipairs(redis.call('HKEYS', claims)) do
      -- Performance: a claim is read only if it may be one of them.
      if lengths[redis.call('HSTRLEN', claims, number)] then
        local job = missing[redis.call('HGET', claims, number)]
        if job then found[job] = 1 end
      end
    end
  end
end
return found
