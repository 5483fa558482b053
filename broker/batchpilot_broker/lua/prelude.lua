-- What several scripts share; put in front of each of them (scripts.py).
-- Everything under rq: is a mirror for `rq info` and dashboards: nothing here is judged by it.

-- Refuse a coordinator that is no longer in office. FRESH: the broker lost its data since it took office.
local function fence(key, term)
  local office = redis.call('GET', key)
  if not office then
    return redis.error_reply('FRESH no coordinator has taken office here')
  end
  if tonumber(office) > tonumber(term) then
    return redis.error_reply('TERM ' .. office .. ' came after ' .. term)
  end
end

-- Take what an agent runs off the display; its worker is idle when nothing is left.
local function end_execution(prefix, agent, chunk, queue)
  local job, worker = prefix .. 'c' .. chunk, 'rq:worker:' .. prefix .. agent
  local execution = job .. ':' .. agent
  redis.call('ZREM', 'rq:wip:' .. queue, execution)
  redis.call('DEL', 'rq:execution:' .. execution, 'rq:executions:' .. job)
  redis.call('SREM', worker .. ':executions', execution)
  if redis.call('EXISTS', worker .. ':executions') == 0 and redis.call('EXISTS', worker) == 1 then
    redis.call('HSET', worker, 'state', 'idle')
  end
end

-- End a lease whose chunk will not be finished under its number: no trace and no payload stay.
local function end_lease(leases, prefix, agent, chunk)
  local job = prefix .. 'c' .. chunk
  redis.call('HDEL', leases, chunk)
  local queue = redis.call('HGET', 'rq:job:' .. job, 'origin')
  if queue then
    end_execution(prefix, agent, chunk, queue)
    redis.call('DEL', 'rq:job:' .. job)
  end
end

-- Remove what an agent put down about itself. registers: hashes with a field for each agent.
local function remove_agent(registers, control, prefix, agent)
  for _, register in ipairs(registers) do
    redis.call('HDEL', register, agent)
  end
  local worker = 'rq:worker:' .. prefix .. agent
  local queues = redis.call('HGET', worker, 'queues') or ''
  redis.call('SREM', 'rq:workers', worker)
  for queue in string.gmatch(queues, '[^,]+') do
    redis.call('SREM', 'rq:workers:' .. queue, worker)
  end
  redis.call('DEL', control, worker, worker .. ':executions')
end
