-- Put chunks at the tail of their queues and ring for each. Jobs that were handed out before go to the
-- head, behind others of their kind: they do not wait again for all that was fed ahead.
-- KEYS: term, leases, again. ARGV: term, prefix, bells kept; then for each chunk: its number, queue, bell,
-- whether it is fed again (1 or 0), number of words, and as many words: the fields of RQ's job hash.
-- A chunk that is queued or leased already is left alone, so that feeding twice is harmless.
local refused = fence(KEYS[1], ARGV[1])
if refused then return refused end

local fed, at = 0, 4
while at <= #ARGV do
  local chunk, queue, bell, again = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3] == '1'
  local first, words = at + 5, tonumber(ARGV[at + 4])
  at = first + words
  local job, list = ARGV[2] .. 'c' .. chunk, 'rq:queue:' .. queue
  local known = redis.call('HEXISTS', KEYS[2], chunk) == 1
    or (redis.call('EXISTS', 'rq:job:' .. job) == 1 and redis.call('LPOS', list, job))
  if not known then
    redis.call('HSET', 'rq:job:' .. job, unpack(ARGV, first, at - 1))
    redis.call('PERSIST', 'rq:job:' .. job)
    redis.call('SADD', 'rq:queues', list)
    if again then
      local last = ARGV[2] .. 'c' .. (redis.call('HGET', KEYS[3], queue) or '')
      if redis.call('LINSERT', list, 'AFTER', last, job) <= 0 then
        redis.call('LPUSH', list, job)
      end
      redis.call('HSET', KEYS[3], queue, chunk, chunk, 1)
    else
      redis.call('RPUSH', list, job)
    end
    redis.call('RPUSH', bell, chunk)
    redis.call('LTRIM', bell, -tonumber(ARGV[3]), -1)
    fed = fed + 1
  end
end
return fed
