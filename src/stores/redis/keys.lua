-- The stored virtual keys, as `shared/board.rs` has them.
--
-- KEYS: the hash with '@version' and a text by id. ARGV: the version that the caller knows, then the ids
-- and texts that it knows in turn. Answers nothing when that is the version here, else all fields.

local key = KEYS[1]
local known = tonumber(ARGV[1])
local version = tonumber(redis.call('HGET', key, '@version') or '0')
if version < known then
  for i = 2, #ARGV, 2 do
    redis.call('HSETNX', key, ARGV[i], ARGV[i + 1])
  end
  version = known + 1
  redis.call('HSET', key, '@version', string.format('%.0f', version))
end
if version == known then
  return {}
end
return redis.call('HGETALL', key)
