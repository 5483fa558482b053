-- Run plain commands of the coordinator, if it is in office.
-- KEYS: term. ARGV: term; then for each command the number of its words, and the words.
local refused = fence(KEYS[1], ARGV[1])
if refused then return refused end
local answers, at = {}, 2
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  answers[#answers + 1] = redis.call(unpack(ARGV, at + 1, at + words))
  at = at + 1 + words
end
return answers
