"""Everything that speaks to the broker: wire nouns, seals, frames, server, queues, claims."""
