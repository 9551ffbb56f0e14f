-- What replicas tell each other, as `shared/board.rs` has it.
--
-- KEYS: the topics. ARGV: replica; then for each topic: life ms, version read, 1 when it posts, text.
-- A topic is a hash: '@version' and a row `since|text` for each replica. Answers for each topic: its
-- version, then names and texts in turn; 'same' in their place when nothing is new.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local replica = ARGV[1]

local function one(key, at)
  local life, seen, posts, text = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if posts == '1' then
    redis.call('HSET', key, replica, string.format('%.0f', now) .. '|' .. text)
    redis.call('HINCRBY', key, '@version', 1)
    redis.call('PEXPIRE', key, life)
  end
  local version = redis.call('HGET', key, '@version') or '0'
  local answer = { version }
  if version == seen then
    answer[2] = 'same'
    return answer
  end
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if fields[i] ~= '@version' then
      local since, said = string.match(fields[i + 1], '^(%d+)|(.*)$')
      if since and now - tonumber(since) <= life then
        answer[#answer + 1] = fields[i]
        answer[#answer + 1] = said
      else
        redis.call('HDEL', key, fields[i])
      end
    end
  end
  return answer
end

local replies = {}
for i = 1, #KEYS do
  replies[i] = one(KEYS[i], 2 + (i - 1) * 4)
end
return replies
