"""What Redis does by itself: Lua, because a condition and the write it guards must be one step.

A record is a hash: one field for each attribute of `Record` that is not None, times as whole
milliseconds since 1970, revisions joined by spaces. A tombstone is a hash whose field ``tombstone``
holds its revision, ``reason`` and ``successor`` the rest.

The scripts refuse to write over what `redis.RedisDriver` cannot read; both judge by the same rules.
They answer 1 where they wrote and bring what is stored where they did not, so that
`records.answer_to_replace` and its like decide what that means. No script computes a deadline: it
is given the moment after which the base must have been used. Each reads before it writes and begins
its writes with an HSET: wrong types and a full memory are errors before anything has changed.
"""

from __future__ import annotations

import dataclasses
import hashlib

from django_multisession.core.records import (
    BEGINNING,
    END,
    LONGEST_AGE,
    TOMBSTONE_TIMEOUT,
    to_milliseconds,
)

#: Longest text that is read as a number: far more digits than any age or time in the calendar has.
NUMBER_LENGTH = 32
_TOMBSTONE_MS = int(TOMBSTONE_TIMEOUT.total_seconds() * 1000)


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A script: sent by its digest, by its text only where the server has forgotten it."""

    text: str
    digest: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    # Redis names scripts by SHA-1; nothing is protected by it.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_EXPIRE = """
local function expire(key, life)
  if life == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, life) end
end
"""

_STORE = f"""
{_EXPIRE}
local function store(key, life, first)
  redis.call('HSET', key, unpack(ARGV, first))
  local given = {{}}
  for i = first, #ARGV, 2 do given[ARGV[i]] = true end
  for _, name in ipairs({{'idle_age', 'hard_deadline_at', 'user_id'}}) do
    if not given[name] then redis.call('HDEL', key, name) end
  end
  expire(key, life)
end
"""

#: ARGV[index]: the tombstone's revision, reason and successor, with a space between.
_LEAVE = f"""
local function leave(key, index)
  local revision, reason, successor = ARGV[index]:match('^(%S*) (%S*) (%S*)$')
  redis.call('DEL', key)
  redis.call('HSET', key, 'tombstone', revision, 'reason', reason, 'successor', successor)
  redis.call('PEXPIRE', key, {_TOMBSTONE_MS})
end
"""

#: ARGV, from *first* on: the tombstone, as above, life in milliseconds or nothing, fields.
_MOVE = f"""
{_STORE}
{_LEAVE}
local function move(first)
  if redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('HGETALL', KEYS[1]) end
  store(KEYS[2], ARGV[first + 1], first + 2)
  leave(KEYS[1], first)
  return 1
end
"""

# Valid sequences become spaces instead of nothing: their neighbours must not join into new ones.
# Surrogates pass, as they do in Python's "surrogatepass".
_BASE = f"""
local EARLIEST, LATEST = {to_milliseconds(BEGINNING)}, {to_milliseconds(END)}

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

local function age(text)
  local found = number(text)
  return found and math.abs(found) <= {LONGEST_AGE} and found
end

-- Its last use, if the base is what is stored: readable, of that revision and used after last_idle.
local function base_used_at(key, revision, last_idle)
  local stored = redis.call('HMGET', key, 'revisions', 'created_at', 'began_at', 'touched_at',
    'idle_age', 'hard_deadline_at', 'user_id', 'tombstone')
  local revisions, touched_at = stored[1], moment(stored[4])
  if stored[8] or redis.call('HEXISTS', key, 'payload') == 0
    or not revisions or (' ' .. revisions .. ' '):find('  ', 1, true) or not is_utf8(revisions)
    or not moment(stored[2]) or not moment(stored[3]) or not touched_at
    or (stored[5] and not age(stored[5])) or (stored[6] and not moment(stored[6]))
    or (stored[7] and not is_utf8(stored[7]))
    or revisions:match('^[^ ]+') ~= revision or touched_at <= tonumber(last_idle)
  then return nil end
  return touched_at
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

#: KEYS: record. ARGV: base's revision, its last idle moment, latest last use to write over, life,
#: fields. Answers 1, or what is stored.
REPLACE = _script(
    _STORE,
    _BASE,
    """
local used_at = base_used_at(KEYS[1], ARGV[1], ARGV[2])
if used_at and used_at <= tonumber(ARGV[3]) then
  store(KEYS[1], ARGV[4], 5)
  return 1
end
return redis.call('HGETALL', KEYS[1])
""",
)

#: KEYS: old, new. ARGV: as REPLACE up to the last use, then as `_MOVE`. Answers as REPLACE.
MOVE = _script(
    _MOVE,
    _BASE,
    """
local used_at = base_used_at(KEYS[1], ARGV[1], ARGV[2])
if used_at and used_at <= tonumber(ARGV[3]) then return move(4) end
return redis.call('HGETALL', KEYS[1])
""",
)

#: KEYS: old, new. ARGV: the tombstone's revision, then as `_MOVE`. Answers as REPLACE.
CLAIM = _script(
    _MOVE,
    """
if redis.call('HGET', KEYS[1], 'tombstone') == ARGV[1] then return move(2) end
return redis.call('HGETALL', KEYS[1])
""",
)

#: KEYS: record. ARGV: base's revision, its last idle moment, last use, life. Answers 1 if the last
#: use is that or a later one, else what is stored.
TOUCH = _script(
    _EXPIRE,
    _BASE,
    """
local used_at = base_used_at(KEYS[1], ARGV[1], ARGV[2])
if not used_at then return redis.call('HGETALL', KEYS[1]) end
if used_at < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'touched_at', ARGV[3])
  expire(KEYS[1], ARGV[4])
end
return 1
""",
)

#: KEYS: record. ARGV: the tombstone. Answers 1 if a record was there, readable or not, else what is
#: stored.
DELETE = _script(
    _LEAVE,
    """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' or (kind == 'hash' and redis.call('HEXISTS', KEYS[1], 'tombstone') == 1) then
  return redis.call('HGETALL', KEYS[1])
end
leave(KEYS[1], 1)
return 1
""",
)
