-- A rate that replicas share: one bucket, from which each draws what it is about to use, as
-- `shared/bucket.rs` has it.
--
-- KEYS: the buckets. ARGV: replica, lease ttl ms; then for each bucket: rate (units a minute), burst,
-- held, want, need, weight, given back.
-- A bucket is a hash: '@level', '@at' and a row `weight|held|deadline` for each replica.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local replica, ttl = ARGV[1], tonumber(ARGV[2])
local at = 2

local function number()
  at = at + 1
  return tonumber(ARGV[at])
end

local function str(n)
  return string.format('%.3f', n)
end

local function one(key)
  local rate, burst = number(), number()
  local held, want, need, weight, back = number(), number(), number(), number(), number()
  local fields = redis.call('HGETALL', key)
  local level, since = burst, now
  local outstanding, weights, live = held, weight, 1
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == '@level' then
      level = tonumber(value)
    elseif name == '@at' then
      since = tonumber(value)
    elseif name ~= replica then
      local w, h, deadline = string.match(value, '([^|]+)|([^|]+)|([^|]+)')
      if tonumber(deadline) < now then
        redis.call('HDEL', key, name)
      else
        weights = weights + tonumber(w)
        outstanding = outstanding + tonumber(h)
        live = live + 1
      end
    end
  end
  local per_ms = rate / 60000
  local room = math.max(burst, per_ms * 400 + live * 1000000) - outstanding
  level = level + back
  level = math.max(math.min(level + math.max(0, now - since) * per_ms, room), math.min(level, room))
  local share = weights > 0 and weight / weights or 1
  local granted = math.max(0, math.min(want, level, math.max(level * share, need)))
  if granted < need and level >= room and need > room and need <= rate then
    granted = need
  end
  level = level - granted
  if weight > 0 or held + granted > 0 then
    redis.call('HSET', key, replica, str(weight) .. '|' .. str(held + granted) .. '|' .. str(now + ttl))
  else
    redis.call('HDEL', key, replica)
  end
  redis.call('HSET', key, '@level', str(level), '@at', str(now))
  redis.call('PEXPIRE', key, 600000)
  return { string.format('%.0f', math.floor(granted)), string.format('%.0f', weights), tostring(live) }
end

local replies = {}
for i = 1, #KEYS do
  replies[#replies + 1] = one(KEYS[i])
end
return replies
