-- Lease the best chunk an agent can serve: highest priority first, then what is fed again, then the oldest head.
-- KEYS: leases, foreign, gone, again; then queue list and bell of each class offered.
-- ARGV: prefix, agent, now as RQ writes times, now in seconds; then the priority of each class.
-- Returns nothing, or chunk number, class (from 1, in the order offered), data of the RQ job.
local prefix, agent, now, seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local pattern = '^' .. string.gsub(prefix, '%p', '%%%0') .. 'c(%d+)$'

-- Drop at most this many strange ids from a queue at once: a script keeps everybody else waiting.
local PATIENCE = 1000

-- The first id in a queue that is ours and still has its job, and its chunk number.
local function head_of(list)
  for _ = 1, PATIENCE do
    local job = redis.call('LINDEX', list, 0)
    if not job then return nil end
    local chunk = string.match(job, pattern)
    if chunk and redis.call('TYPE', 'rq:job:' .. job).ok == 'hash' then
      return job, chunk
    end
    redis.call('INCR', chunk and KEYS[3] or KEYS[2])
    redis.call('LPOP', list)
  end
end

-- What was fed again is older than all else.
local function age_of(number)
  return tonumber(number) - 1e15 * redis.call('HEXISTS', KEYS[4], number)
end

local best, job, chunk, highest
for class = 1, #ARGV - 4 do
  local candidate, number = head_of(KEYS[3 + 2 * class])
  local priority = tonumber(ARGV[4 + class])
  if candidate and (not best or priority > highest
      or (priority == highest and age_of(number) < age_of(chunk))) then
    best, job, chunk, highest = class, candidate, number, priority
  end
end

local claimed = nil
if best then
  local hash, worker = 'rq:job:' .. job, 'rq:worker:' .. prefix .. agent
  local execution, queue = job .. ':' .. agent, string.sub(KEYS[3 + 2 * best], #'rq:queue:' + 1)
  -- The lease comes first: where memory is full, this is what fails, and nothing has moved.
  redis.call('HSET', KEYS[1], chunk, agent)
  redis.call('LPOP', KEYS[3 + 2 * best])
  redis.call('HDEL', KEYS[4], chunk)
  redis.call('HSET', hash, 'status', 'started', 'started_at', now, 'last_heartbeat', now,
    'worker_name', prefix .. agent)
  redis.call('ZADD', 'rq:wip:' .. queue, '+inf', execution)
  redis.call('ZADD', 'rq:executions:' .. job, '+inf', agent)
  redis.call('HSET', 'rq:execution:' .. execution, 'id', agent, 'job_id', job, 'created_at', seconds,
    'last_heartbeat', seconds, 'worker_name', prefix .. agent)
  redis.call('SADD', worker .. ':executions', execution)
  if redis.call('EXISTS', worker) == 1 then
    redis.call('HSET', worker, 'state', 'busy')
  end
  claimed = {chunk, best, redis.call('HGET', hash, 'data')}
end

-- Silence the bell of an empty queue. Ring that of one with work left but no token: whoever took the
-- token may have claimed something else with it.
for class = 1, #ARGV - 4 do
  local list, bell = KEYS[3 + 2 * class], KEYS[4 + 2 * class]
  local head = redis.call('LINDEX', list, 0)
  if not head then
    redis.call('DEL', bell)
  elseif redis.call('EXISTS', bell) == 0 then
    redis.call('RPUSH', bell, 'more')
  end
end
return claimed
