-- End the lease of a chunk, whoever holds it; returns whether there was one.
-- KEYS: term, leases. ARGV: term, prefix, chunk.
local refused = fence(KEYS[1], ARGV[1])
if refused then return refused end
local agent = redis.call('HGET', KEYS[2], ARGV[3])
if not agent then return 0 end
end_lease(KEYS[2], ARGV[2], agent, ARGV[3])
return 1
