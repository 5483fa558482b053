-- Give up a chunk that an agent cannot open: count it, end the lease, keep nothing of it.
-- KEYS: leases, forged. ARGV: prefix, agent, chunk.
redis.call('INCR', KEYS[2])
if redis.call('HGET', KEYS[1], ARGV[3]) == ARGV[2] then
  end_lease(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
end
return 1
