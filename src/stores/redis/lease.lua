-- The rules of a pot, as `shared/pot.rs` has them, each call one atomic step.
--
-- KEYS[1]: since when the store remembers. KEYS[2..]: the pots, one for each call.
-- ARGV: replica, incarnation, lease ttl ms, recovery ms; then for each call its fields in the order
-- below, and its witness: base ('' for none), number of others, and name, spent, granted of each.
-- A pot is a hash. Fields of its own begin with '@'; every other field is a replica's row:
-- incarnation|seq|spent|granted|weight|need|deadline.
-- Answers one array for each call. Amounts stay below 2^53, so doubles hold them exactly.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local replica, incarnation = ARGV[1], tonumber(ARGV[2])
local ttl, recovery = tonumber(ARGV[3]), tonumber(ARGV[4])
local at = 4

local function text()
  at = at + 1
  return ARGV[at]
end

local function number()
  return tonumber(text())
end

local function str(n)
  return string.format('%.0f', n)
end

local function flag(b)
  return b and '1' or '0'
end

local born = tonumber(redis.call('GET', KEYS[1]) or '')
if not born then
  born = now
  redis.call('SET', KEYS[1], str(born))
end

local function read_row(value)
  local n = {}
  for part in string.gmatch(value, '[^|]+') do
    n[#n + 1] = tonumber(part)
  end
  return { incarnation = n[1], seq = n[2], spent = n[3], granted = n[4], weight = n[5], need = n[6], deadline = n[7] }
end

local function write_row(key, name, row)
  redis.call('HSET', key, name, table.concat({
    str(row.incarnation), str(row.seq), str(row.spent), str(row.granted),
    str(row.weight), str(row.need), str(row.deadline) }, '|'))
end

local function one(key)
  local charge = text() == 'charge'
  local limit, limit_version = number(), number()
  local seq, acked = number(), number()
  local spent, held, want, need, weight = number(), number(), number(), number(), number()
  local base_arg = text()
  local has_past, leaving = text() == '1', text() == '1'
  local expires = number()
  local witness_base, witness_count = text(), number()
  local witness = {}
  for i = 1, witness_count do
    witness[i] = { name = text(), spent = number(), granted = number() }
  end

  -- Read.
  local fields = redis.call('HGETALL', key)
  local created = #fields == 0
  local own, rows = {}, {}
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == '@' then
      own[fields[i]] = fields[i + 1]
    else
      rows[fields[i]] = read_row(fields[i + 1])
    end
  end
  if created then
    own['@limit'], own['@limit_version'] = str(limit), str(limit_version)
    own['@base'] = base_arg ~= '' and base_arg or '0'
    own['@recovers'] = has_past and str(now + recovery) or '0'
  end
  if not charge then
    for name, row in pairs(rows) do
      if row.deadline < now then
        rows[name] = nil
        redis.call('HDEL', key, name)
      end
    end
  end

  local names = {}
  local function reply(granted, recovering, forgot, stale)
    local hungry = false
    local out = {}
    names = {}
    for name in pairs(rows) do
      if name ~= replica then
        names[#names + 1] = name
      end
    end
    table.sort(names)
    for _, name in ipairs(names) do
      local row = rows[name]
      local live = row.deadline >= now
      hungry = hungry or (live and row.need > row.granted)
      for _, value in ipairs({ name, str(row.spent), str(row.granted), str(row.weight), flag(live) }) do
        out[#out + 1] = value
      end
    end
    local head = { str(seq), str(granted), own['@limit'], own['@base'],
      flag(recovering), flag(hungry), flag(forgot), flag(created), flag(stale) }
    for _, value in ipairs(out) do
      head[#head + 1] = value
    end
    return head
  end

  -- What comes late or twice changes nothing.
  local known = rows[replica]
  if known then
    local later = known.incarnation > incarnation or (known.incarnation == incarnation and known.seq > seq)
    local same = known.incarnation == incarnation and known.seq == seq
    if later or same then
      return reply(known.granted, false, false, later)
    end
  end

  -- Forgotten: everything, or what came after an old copy.
  local forgot = acked > 0 and (not known or known.incarnation ~= incarnation or known.seq < acked)
  if forgot and charge and now >= born + recovery then
    born = now
    redis.call('SET', KEYS[1], str(born))
  end
  -- An earlier life had reported more than its ledger still knows.
  if known and charge and known.incarnation < incarnation and known.spent > spent then
    own['@base'] = str(tonumber(own['@base']) + known.spent - spent)
  end

  -- Learn what the caller knows.
  if limit_version >= tonumber(own['@limit_version']) then
    own['@limit'], own['@limit_version'] = str(limit), str(limit_version)
  end
  if witness_base ~= '' then
    local base = tonumber(witness_base)
    if own['@witnessed'] then
      base = math.max(base, tonumber(own['@base']))
    end
    own['@base'], own['@witnessed'] = str(base), '1'
    for _, other in ipairs(witness) do
      local row = rows[other.name]
      if other.name ~= replica and (not row or row.incarnation == 0) then
        row = row or { incarnation = 0, seq = 0, spent = 0, granted = 0, weight = 0, need = 0, deadline = 0 }
        row.spent = math.max(row.spent, other.spent)
        row.granted = math.max(row.granted, other.granted)
        rows[other.name] = row
        write_row(key, other.name, row)
      end
    end
  end

  -- Grant.
  local recovering = charge and (now < born + recovery or now < tonumber(own['@recovers']))
  local kept = math.max(spent, math.min(held, want))
  local taken, alone = 0, true
  for name, row in pairs(rows) do
    if name ~= replica then
      taken = taken + row.granted
      alone = alone and row.deadline < now
    end
  end
  local free = math.max(0, tonumber(own['@limit']) - tonumber(own['@base']) - taken - kept)
  local asked = math.min(math.max(0, want - kept), free)
  local granted = kept
  if not recovering and asked > 0 then
    local least = math.max(0, need - kept)
    if charge and not alone then
      asked = math.min(asked, math.max(math.floor(free / 2), least))
    end
    if asked >= least then
      granted = kept + asked
    end
  end

  -- Write.
  if leaving and not charge then
    rows[replica] = nil
    redis.call('HDEL', key, replica)
  else
    rows[replica] = {
      incarnation = incarnation, seq = seq, spent = spent, granted = granted, weight = weight,
      need = granted < need and need or 0, deadline = leaving and 0 or now + ttl }
    write_row(key, replica, rows[replica])
  end
  local flat = {}
  for field, value in pairs(own) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  redis.call('HSET', key, unpack(flat))
  if expires > 0 then
    redis.call('PEXPIREAT', key, str(expires))
  else
    redis.call('PERSIST', key)
  end
  return reply(granted, recovering, forgot, false)
end

local replies = {}
for i = 2, #KEYS do
  replies[#replies + 1] = one(KEYS[i])
end
return replies
