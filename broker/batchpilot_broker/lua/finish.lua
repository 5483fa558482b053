-- End the lease of a chunk that has run, if this agent still holds it; returns whether it did.
-- KEYS: leases. ARGV: prefix, agent, chunk, now as RQ writes times, now in seconds, jobs run, seconds worked,
-- data that replaces the payload, seconds the job stays on display.
local prefix, agent, chunk, now, seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', KEYS[1], chunk) ~= agent then return 0 end
redis.call('HDEL', KEYS[1], chunk)

local job, worker = prefix .. 'c' .. chunk, 'rq:worker:' .. prefix .. agent
local queue = redis.call('HGET', 'rq:job:' .. job, 'origin')
if queue then
  end_execution(prefix, agent, chunk, queue)
  redis.call('HSET', 'rq:job:' .. job, 'status', 'finished', 'ended_at', now, 'data', ARGV[8])
  redis.call('EXPIRE', 'rq:job:' .. job, ARGV[9])
  redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. queue, '-inf', seconds)
  redis.call('ZADD', 'rq:finished:' .. queue, tonumber(seconds) + tonumber(ARGV[9]), job)
end
if redis.call('EXISTS', worker) == 1 then
  redis.call('HINCRBY', worker, 'successful_job_count', ARGV[6])
  redis.call('HINCRBYFLOAT', worker, 'total_working_time', ARGV[7])
end
return 1
