-- Remove an agent on its own word. Leases it still holds stay for the coordinator to judge.
-- KEYS: control list of the agent, then the hashes with a field for each agent. ARGV: prefix, agent.
remove_agent({unpack(KEYS, 2)}, KEYS[1], ARGV[1], ARGV[2])
return 1
