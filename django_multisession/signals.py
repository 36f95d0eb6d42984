"""Signals: what happens to sessions, for audit logs and metrics.

Each is sent once the verb it happened in is over, by ``send_robust()``, in async code by
``asend_robust()``: what a receiver raises is logged and harms no request. The sender is the
engine's ``SessionStore`` class. Arguments never hold a session key or a cookie, and no entry's value but what
logins record for `new_device`; a storage key names a session without opening it.
"""

from __future__ import annotations

from django.dispatch import Signal

#: A session was stored for the first time. ``storage_key``, ``user_id`` (str or None).
session_created = Signal()

#: A session of the engine that ``MULTISESSION_MIGRATE_FROM`` names was adopted. ``storage_key``,
#: ``user_id``, ``engine``, ``dropped_entries``: names of entries that ``SESSION_SERIALIZER`` can't take.
session_adopted = Signal()

#: A session got a new key. ``storage_key``, ``old_storage_key``, ``user_id``, ``reason``:
#: ``"login"``, ``"authentication"`` (its user was authenticated again) or ``"requested"`` (code called
#: ``cycle_key()``).
session_key_changed = Signal()

#: A client came with a session that had expired. ``storage_key``, ``user_id``, ``reason``:
#: ``"idle"`` or ``"absolute"``. A session that no client comes with again isn't reported.
session_expired = Signal()

#: A session was ended. ``storage_key``, ``user_id`` (None where it isn't known), ``reason``: ``"flushed"`` (a logout), ``"deleted"`` (by
#: ``delete()``), ``"revoked"`` (as one of its user's, by `user_sessions`), ``"limit"`` (by a login
#: beyond ``MULTISESSION_MAX_SESSIONS``) or ``"login"`` (a login ended what its session had become).
session_ended = Signal()

#: A client sent a session key that this site did not sign. ``is_of_another_engine``: does it look
#: like a key from before a switch from Django's engines?
invalid_session_key = Signal()

#: Two requests' changes were merged. ``storage_key``, ``resolved_entries`` and ``lost_entries``:
#: names of entries that both had changed, and of which a resolver made one, or the other request's
#: value went.
session_merged = Signal()

#: A user logged in with a device that none of the user's other live sessions has. Sent where
#: ``MULTISESSION_RECORD_USER_AGENT`` is on and the engine finds the sessions of a user, which is asked
#: only while the signal has receivers. ``storage_key``, ``user_id``, ``session_id``, ``user_agent``,
#: ``device``, ``address``.
new_device = Signal()

#: A request's changes could not be saved: its session had been ended or moved. ``storage_key``.
session_interrupted = Signal()

#: The server did not answer, for the first time in this process since it last did. ``reason``: what
#: `StoreUnavailable` says.
outage_began = Signal()

#: The server answered again. ``duration`` (timedelta), by this process's clock.
outage_ended = Signal()
