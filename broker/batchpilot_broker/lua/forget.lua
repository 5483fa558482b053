-- Remove a lost agent and end its leases; returns the chunks it held.
-- KEYS: term, leases, control list of the agent, then the hashes with a field for each agent.
-- ARGV: term, prefix, agent.
local refused = fence(KEYS[1], ARGV[1])
if refused then return refused end
local held, leases = {}, redis.call('HGETALL', KEYS[2])
for i = 1, #leases, 2 do
  if leases[i + 1] == ARGV[3] then
    end_lease(KEYS[2], ARGV[2], ARGV[3], leases[i])
    held[#held + 1] = leases[i]
  end
end
remove_agent({unpack(KEYS, 4)}, KEYS[3], ARGV[2], ARGV[3])
return held
