"""What Redis does by itself: Lua, because a condition and the write it guards must be one step.

A record is a hash: one field for each attribute of `Record` that is not None, times as whole
milliseconds since 1970, revisions joined by spaces. A retired record is a hash whose field
``retired`` holds the revision of the move, or nothing, and ``forward`` what leads to the new key.

The scripts refuse to write over what `redis.RedisDriver` cannot read; both judge by the same rules.
They answer 1 where they wrote and bring what is stored where they did not, so that
`records.answer_of_replace` and `records.answer_of_move` decide what that means. Each reads before
it writes and begins its writes with an HSET: wrong types and a full memory are errors before
anything has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib

from django_multisession.records import EXPIRY_SLACK

_EXPIRY_SLACK_MS = int(EXPIRY_SLACK.total_seconds() * 1000)

#: Longest text that is read as a number: far more digits than any age or time in the calendar has.
NUMBER_LENGTH = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A script: sent by its digest, by its text only where the server has forgotten it."""

    text: str
    digest: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    # Redis names scripts by SHA-1; nothing is protected by it.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# tostring() would write 1.7e+12.
_EXPIRE = f"""
local function keep_until(key, ends, now)
  if ends then
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(ends - now, 0) + {_EXPIRY_SLACK_MS}))
  else
    redis.call('PERSIST', key)
  end
end
"""

_STORE = """
local function store(key, life, first)
  redis.call('HSET', key, unpack(ARGV, first))
  local given = {}
  for i = first, #ARGV, 2 do given[ARGV[i]] = true end
  for _, name in ipairs({'idle_age', 'hard_deadline_at', 'user_id', 'old_key'}) do
    if not given[name] then redis.call('HDEL', key, name) end
  end
  if life == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, life) end
end
"""

_RETIRE = """
local function retire(key, life, ...)
  redis.call('DEL', key)
  redis.call('HSET', key, ...)
  if life == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, life) end
end
"""

# Valid sequences become spaces instead of nothing: their neighbours must not join into new ones.
# Surrogates pass, as they do in Python's "surrogatepass".
_LIVE = f"""
local EARLIEST, LATEST = -62135596800000, 253402300799999

local function is_utf8(text)
  for _, sequence in ipairs({{
    '[\\194-\\223][\\128-\\191]',
    '\\224[\\160-\\191][\\128-\\191]',
    '[\\225-\\239][\\128-\\191][\\128-\\191]',
    '\\240[\\144-\\191][\\128-\\191][\\128-\\191]',
    '[\\241-\\243][\\128-\\191][\\128-\\191][\\128-\\191]',
    '\\244[\\128-\\143][\\128-\\191][\\128-\\191]',
  }}) do
    if not text:find('[\\128-\\255]') then return true end
    text = text:gsub(sequence, ' ')
  end
  return not text:find('[\\128-\\255]')
end

local function number(text)
  return text and #text <= {NUMBER_LENGTH} and text:find('^%-?%d+$') and tonumber(text)
end

local function moment(text)
  local found = number(text)
  return found and found >= EARLIEST and found <= LATEST and found
end

local function ends_at(touched_at, idle_age, hard_deadline_at)
  local idle_ends = idle_age and touched_at + idle_age * 1000
  if idle_ends and idle_ends > LATEST then idle_ends = false end
  if idle_ends and idle_ends < EARLIEST then idle_ends = EARLIEST end
  if idle_ends and hard_deadline_at then return math.min(idle_ends, hard_deadline_at) end
  return idle_ends or hard_deadline_at
end

local function live_record(key, now)
  local stored = redis.call('HMGET', key, 'revisions', 'created_at', 'began_at', 'touched_at',
    'idle_age', 'hard_deadline_at', 'user_id', 'retired', 'keyed_at', 'old_key')
  local revisions, touched_at = stored[1], moment(stored[4])
  local idle_age, hard_deadline_at = number(stored[5]), moment(stored[6])
  if stored[8] or redis.call('HEXISTS', key, 'payload') == 0
    or not revisions or (' ' .. revisions .. ' '):find('  ', 1, true) or not is_utf8(revisions)
    or not moment(stored[2]) or not moment(stored[3]) or not touched_at or not moment(stored[9])
    or (stored[5] and not idle_age) or (stored[6] and not hard_deadline_at)
    or (stored[7] and not is_utf8(stored[7])) or (stored[10] and not is_utf8(stored[10]))
  then return nil end
  local ends = ends_at(touched_at, idle_age, hard_deadline_at)
  if ends and now >= ends then return nil end
  return {{revision = revisions:match('^[^ ]+'), touched_at = touched_at, idle_age = idle_age,
    hard_deadline_at = hard_deadline_at}}
end
"""

#: KEYS: record. ARGV: life in milliseconds or nothing, fields. Answers 1, or the stored revisions.
ADD = _script(
    _STORE,
    """
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('HGET', KEYS[1], 'revisions') or ''
end
store(KEYS[1], ARGV[1], 2)
return 1
""",
)

#: KEYS: record. ARGV: expected revision, now, life, fields. Answers 1, or what is stored.
REPLACE = _script(
    _STORE,
    _LIVE,
    """
local record = live_record(KEYS[1], tonumber(ARGV[2]))
if record and record.revision == ARGV[1] then
  store(KEYS[1], ARGV[3], 4)
  return 1
end
return redis.call('HGETALL', KEYS[1])
""",
)

#: KEYS: old, new. ARGV: expected revision, now, life, new revision, forward or nothing, how long
#: the old one is kept, fields. Answers as REPLACE.
MOVE = _script(
    _STORE,
    _RETIRE,
    _LIVE,
    """
local record = live_record(KEYS[1], tonumber(ARGV[2]))
if record and record.revision == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 0 then
  store(KEYS[2], ARGV[3], 7)
  if ARGV[5] == '' then
    retire(KEYS[1], ARGV[6], 'retired', ARGV[4])
  else
    retire(KEYS[1], ARGV[6], 'retired', ARGV[4], 'forward', ARGV[5])
  end
  return 1
end
return redis.call('HGETALL', KEYS[1])
""",
)

#: KEYS: record. ARGV: last use, now. Answers 1 if a live record is there, else 0.
TOUCH = _script(
    _EXPIRE,
    _LIVE,
    """
local touched_at, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local record = live_record(KEYS[1], now)
if not record then return 0 end
if touched_at > record.touched_at then
  redis.call('HSET', KEYS[1], 'touched_at', ARGV[1])
  keep_until(KEYS[1], ends_at(touched_at, record.idle_age, record.hard_deadline_at), now)
end
return 1
""",
)

#: KEYS: record. ARGV: how long the fact is kept. Answers 1 if a record was there, readable or not,
#: else 0.
DELETE = _script(
    _RETIRE,
    """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' or (kind == 'hash' and redis.call('HEXISTS', KEYS[1], 'retired') == 1) then
  return 0
end
retire(KEYS[1], ARGV[1], 'retired', '')
return 1
""",
)

#: KEYS: record. ARGV: milliseconds. Answers nothing.
FORGET = _script(
    """
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HEXISTS', KEYS[1], 'retired') == 0 then
  return 0
end
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 0
"""
)
