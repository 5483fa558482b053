-- Put chunks at the tail of their queues and ring for each.
-- KEYS: term, leases. ARGV: term, prefix, bells kept; then for each chunk: its number, queue, bell,
-- number of words, and as many words: the fields of RQ's job hash.
-- A chunk that is queued or leased already is left alone, so that feeding twice is harmless.
local refused = fence(KEYS[1], ARGV[1])
if refused then return refused end

local fed, at = 0, 4
while at <= #ARGV do
  local chunk, queue, bell, words = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local first = at + 4
  at = first + words
  local job, list = ARGV[2] .. 'c' .. chunk, 'rq:queue:' .. queue
  local known = redis.call('HEXISTS', KEYS[2], chunk) == 1
    or (redis.call('EXISTS', 'rq:job:' .. job) == 1 and redis.call('LPOS', list, job))
  if not known then
    redis.call('HSET', 'rq:job:' .. job, unpack(ARGV, first, at - 1))
    redis.call('PERSIST', 'rq:job:' .. job)
    redis.call('SADD', 'rq:queues', list)
    redis.call('RPUSH', list, job)
    redis.call('RPUSH', bell, chunk)
    redis.call('LTRIM', bell, -tonumber(ARGV[3]), -1)
    fed = fed + 1
  end
end
return fed
