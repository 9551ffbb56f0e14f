-- Keeps one response and lets go of what is beyond the bounds.
--
-- KEYS: the response, the index, the sum of bytes; then the items that it added. ARGV: retention ms, most
-- bytes, bytes of this one, its name in the index, prefix of responses' keys, created ms, origin, response,
-- input, items, id.
-- The index has `bytes|name` by when each was kept; Redis's own expiry takes the rest.

local response, index, sum = KEYS[1], KEYS[2], KEYS[3]
local retention, most, bytes, name, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function let_go(member)
  local size, whose = string.match(member, '^(%d+)|(.*)$')
  if redis.call('ZREM', index, member) == 1 then
    redis.call('DECRBY', sum, size)
  end
  redis.call('DEL', prefix .. whose)
end

local old = redis.call('HGET', response, 'bytes')
if old then
  let_go(old .. '|' .. name)
end
redis.call('HSET', response, 'bytes', bytes, 'created', ARGV[6], 'origin', ARGV[7],
  'response', ARGV[8], 'input', ARGV[9], 'items', ARGV[10])
redis.call('PEXPIRE', response, retention)
for i = 4, #KEYS do
  redis.call('SET', KEYS[i], ARGV[11], 'PX', retention)
end
redis.call('ZADD', index, now, bytes .. '|' .. name)
local total = redis.call('INCRBY', sum, bytes)

local expired = redis.call('ZRANGEBYSCORE', index, '-inf', now - tonumber(retention), 'LIMIT', 0, 64)
for _, member in ipairs(expired) do
  let_go(member)
end
total = tonumber(redis.call('GET', sum))
while total > most do
  local oldest = redis.call('ZRANGE', index, 0, 0)[1]
  if not oldest then
    redis.call('SET', sum, 0)
    break
  end
  let_go(oldest)
  total = tonumber(redis.call('GET', sum))
end
redis.call('PEXPIRE', index, retention)
redis.call('PEXPIRE', sum, retention)
return 1
