"""What Redis does by itself: Lua, because a condition and the write it guards must be one step.

A record is one string (`core.records`). The scripts compare what lies at fixed offsets: what kind it
is, when it ends, its last use, its revision. They compute no deadline. They answer 1 where they wrote
and bring what is stored where they did not, so that `records.answer_to_replace` and its like decide
what that means. Each reads before it writes: wrong types are errors before anything has changed.

A script that is given one more pair of keys changes the index of a user too (`index`). What another
program left in the place of an index stays there: no request fails at it.
"""

from __future__ import annotations

import hashlib

from django_multisession.core.records import (
    ENDS_AT,
    RECORD_HEAD,
    RECORD_OVERHEAD,
    REVISION_AT,
    REVISION_LENGTH,
    SLACK_MS,
    TOMBSTONE_HEAD,
    TOMBSTONE_MS,
)

#: Answer of a script that wrote what it was given.
WRITTEN = 1

#: The last value for a script that is to read after its write what the value before it names. No other
#: value is that.
AND_GET = "and get"

#: Digest → text: a script is sent by its digest, by its text where the server doesn't know it.
TEXTS: dict[str, str] = {}


def _script(*parts: str) -> str:
    text = "".join(parts)
    # Redis names scripts by SHA-1; nothing is protected by it.
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    TEXTS[digest] = text
    return digest


def _text_of(head: bytes) -> str:
    return "'" + "".join(f"\\{byte:03d}" for byte in head) + "'"


#: Behind the keys and the values of a script: see `index.Change`.
_INDEX = f"""
local function index(keys, values)
  local left, entered = KEYS[keys], KEYS[keys + 1]
  if not entered then return end
  if ARGV[values] ~= '' and redis.call('TYPE', left).ok == 'zset' then
    redis.call('ZREM', left, ARGV[values])
  end
  local kind = redis.call('TYPE', entered).ok
  if ARGV[values + 1] ~= '' and (kind == 'zset' or kind == 'none') then
    redis.call('ZADD', entered, ARGV[values + 2], ARGV[values + 1])
    if kind == 'zset' then
      -- The earlier one of two clocks: by the caller's alone, if that is ahead, live sessions would go.
      local now = math.min(ARGV[values + 3], redis.call('TIME')[1] * 1000)
      redis.call('ZREMRANGEBYSCORE', entered, '-inf', string.format('(%.0f', now - {SLACK_MS}))
    end
    if kind == 'none' or redis.call('PTTL', entered) < tonumber(ARGV[values + 4]) then
      redis.call('PEXPIRE', entered, ARGV[values + 4])
    end
  end
end
"""

#: What a script answers that wrote a record: 1, or what lies there that it is to read.
_WRITTEN = f"""
if ARGV[#ARGV] == '{AND_GET}' then
  local place = ARGV[#ARGV - 1]
  if redis.call('TYPE', place).ok == 'string' then return {{redis.call('GET', place)}} end
end
return 1
"""

#: KEYS: record. ARGV: value, life. For records with a user: SET alone does for the others.
ADD = _script(
    _INDEX,
    """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return redis.call('GET', KEYS[1])
end
index(2, 3)
""",
    _WRITTEN,
)

#: KEYS[1]: what is written over. ARGV: revision of the base; now; the latest last use to write over.
#: A tombstone is a base too: it has no times, and now is empty.
_OVER_BASE = f"""
local place = KEYS[1]
local start = redis.call('GETRANGE', place, 0, {REVISION_AT + REVISION_LENGTH - 1})
local head = string.sub(start, 1, {len(RECORD_HEAD)})
local is_base = string.sub(start, {REVISION_AT + 1}) == ARGV[1]
local used = 0
if ARGV[2] == '' then
  is_base = is_base and head == {_text_of(TOMBSTONE_HEAD)}
elseif is_base and head == {_text_of(RECORD_HEAD)} then
  local ends
  ends, used = struct.unpack('>i8i8', start, {ENDS_AT + 1})
  is_base = ends > tonumber(ARGV[2]) and used <= tonumber(ARGV[3])
else
  is_base = false
end
if not is_base then return redis.call('GET', place) end
"""

#: KEYS: record. ARGV: as above, value, life. Also leaves tombstones.
REPLACE = _script(
    _INDEX,
    _OVER_BASE,
    """
redis.call('SET', place, ARGV[4], 'PX', ARGV[5])
index(2, 6)
""",
    _WRITTEN,
)

#: KEYS: old, new. ARGV: as above, value, life, tombstone.
MOVE = _script(
    _INDEX,
    "if redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('GET', KEYS[1]) end",
    _OVER_BASE,
    f"""
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
redis.call('SET', place, ARGV[6], 'PX', {TOMBSTONE_MS})
index(3, 7)
""",
    _WRITTEN,
)

#: KEYS: record. ARGV: as above, last use, end and last use as they are stored, life.
TOUCH = _script(
    _INDEX,
    _OVER_BASE,
    f"""
if used < tonumber(ARGV[4]) then
  redis.call('SETRANGE', place, {ENDS_AT}, ARGV[5])
  redis.call('PEXPIRE', place, ARGV[6])
  index(2, 7)
end
""",
    _WRITTEN,
)

#: KEYS: record. ARGV: revision.
WITHDRAW = _script(
    _INDEX,
    f"""
local start = redis.call('GETRANGE', KEYS[1], 0, {REVISION_AT + REVISION_LENGTH - 1})
local is_record = string.sub(start, 1, {len(RECORD_HEAD)}) == {_text_of(RECORD_HEAD)}
if is_record and string.sub(start, {REVISION_AT + 1}) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  index(2, 2)
end
return 1
""",
)

#: Ends what lies under *place*; given a *user*, only a record of that user. ARGV: the tombstone, what
#: the keys of indexes begin with. Answers 1 if a record was ended, else what is stored.
_ENDING = f"""
local function ended(place, entry, user)
  local kind = redis.call('TYPE', place).ok
  if kind == 'none' then return false end
  local index, owner
  if kind == 'string' then
    -- Of whatever version: a newer release's tombstone stays too.
    local head = redis.call('GETRANGE', place, 0, {len(TOMBSTONE_HEAD) - 1})
    if string.sub(head, 1, 1) == {_text_of(TOMBSTONE_HEAD[:1])}
      and string.sub(head, 3) == {_text_of(TOMBSTONE_HEAD[2:])}
    then return redis.call('GET', place) end
    local size = redis.call('GETRANGE', place, {RECORD_OVERHEAD - 4}, {RECORD_OVERHEAD - 1})
    if head == {_text_of(RECORD_HEAD)} and #size == 4 and size ~= '\\255\\255\\255\\255' then
      local last = {RECORD_OVERHEAD - 1} + struct.unpack('>I4', size)
      owner = ''
      if last >= {RECORD_OVERHEAD} then
        owner = redis.call('GETRANGE', place, {RECORD_OVERHEAD}, last)
      end
      index = ARGV[2] .. redis.sha1hex(owner)
    end
  end
  if user and owner ~= user then return false end
  -- First, because a server whose memory is full lets a script go on that has written: users can log out.
  redis.call('DEL', place)
  redis.call('SET', place, ARGV[1], 'PX', {TOMBSTONE_MS})
  -- No key of this script, because only the record names its user. No Redis but a Cluster minds.
  if index and redis.call('TYPE', index).ok == 'zset' then redis.call('ZREM', index, entry) end
  return 1
end
"""

#: KEYS: record. ARGV: as above, the entry.
DELETE = _script(_ENDING, "return ended(KEYS[1], ARGV[3])")

#: KEYS: records. ARGV: as above, the user, 1 if only that one's are meant, the entry of each. Answers
#: for each in turn.
DELETE_MANY = _script(
    _ENDING,
    """
local answers, user = {}, nil
if ARGV[4] == '1' then user = ARGV[3] end
for number, place in ipairs(KEYS) do answers[number] = ended(place, ARGV[number + 4], user) end
return answers
""",
)
