-- Take chunks back that nobody has claimed yet; returns those that were still queued.
-- KEYS: term, queue list, again. ARGV: term, prefix, then chunk numbers.
local refused = fence(KEYS[1], ARGV[1])
if refused then return refused end
local withdrawn = {}
for i = 3, #ARGV do
  local job = ARGV[2] .. 'c' .. ARGV[i]
  if redis.call('LREM', KEYS[2], 0, job) > 0 then
    redis.call('DEL', 'rq:job:' .. job)
    redis.call('HDEL', KEYS[3], ARGV[i])
    withdrawn[#withdrawn + 1] = ARGV[i]
  end
end
return withdrawn
