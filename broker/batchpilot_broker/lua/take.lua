-- Take office: KEYS term; ARGV term. Taking the same term again is the same coordinator coming back.
local office = redis.call('GET', KEYS[1])
if office and tonumber(office) > tonumber(ARGV[1]) then
  return redis.error_reply('TERM ' .. office .. ' came after ' .. ARGV[1])
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
