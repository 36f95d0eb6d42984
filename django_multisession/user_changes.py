"""Ends the sessions of a user whose password changes, who is deactivated, or who is deleted.

What a user was loaded with is kept on the instance, and compared when that is saved. Where it differs
or isn't known, the stored values are read before the save: a field may have been deferred, or the user
refreshed. Sessions are
ended once the transaction is committed. A server that doesn't answer then breaks no save: the sessions
are refused by Django at their next request, as they are without this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.signals import post_delete, post_init, post_save, pre_save

from django_multisession import user_sessions
from django_multisession.drivers.log_lines import TEN_A_MINUTE, Line
from django_multisession.exceptions import SessionConflict, StoreUnavailable
from django_multisession.session.context import own_session
from django_multisession.session.index import NotIndexed
from django_multisession.settings.conf import config

logger = logging.getLogger("django_multisession")

#: At most ten a minute: an import of users during an outage is one fault.
NOT_ENDED = Line(
    logger,
    logging.ERROR,
    "The sessions of user %s were not ended after a change (%s): %s "
    "Django refuses them at their next request.",
    TEN_A_MINUTE,
)

_LOADED = "_multisession_loaded"
_STORED = "_multisession_stored"
_UID = "django_multisession.user_changes"


class Loaded(NamedTuple):
    """What a user was loaded or last saved with; None for what wasn't loaded."""

    password: str | None
    is_active: bool | None


def reason_for(before: Loaded, after: Loaded) -> str | None:
    """Return which change of a user ends sessions, if one does."""
    was_active = before.is_active is None or before.is_active
    if was_active and after.is_active is not None and not after.is_active:
        return "deactivated"
    if after.password is not None and after.password != before.password:
        return "password"
    return None


def connect() -> None:
    """Watch the site's users; no one, if no user model is installed."""
    try:
        user_model = get_user_model()
    except ImproperlyConfigured:
        return
    for model in apps.get_models():
        # Signals name the proxy or the child that was saved.
        if issubclass(model, user_model):
            post_init.connect(_note, sender=model, dispatch_uid=_UID)
            pre_save.connect(_read, sender=model, dispatch_uid=_UID)
            post_save.connect(_compare, sender=model, dispatch_uid=_UID)
            post_delete.connect(_end_deleted, sender=model, dispatch_uid=_UID)


def _note(*, instance: Any, **_kwargs: Any) -> None:
    # No field that was deferred is loaded for it.
    held = instance.__dict__
    held[_LOADED] = Loaded(held.get("password"), held.get("is_active"))


def _read(
    *, instance: Any, using: str, update_fields: Any = None, raw: bool = False, **_kwargs: Any
) -> None:
    """Read what is stored, where what was loaded says that a save ends sessions."""
    held = instance.__dict__
    held.pop(_STORED, None)
    before = held.get(_LOADED) or Loaded(None, None)
    is_new = raw or instance._state.adding  # noqa: SLF001  (Django documents it)
    if is_new or reason_for(before, _saved(held, before, update_fields)) is None:
        return
    user_model = get_user_model()
    # Not the key of a child model, which is that of another user.
    key = getattr(instance, user_model._meta.pk.attname)  # noqa: SLF001  (as above)
    users = user_model._base_manager.using(using)  # noqa: SLF001  (as above)
    found = users.filter(pk=key).values(*fields_of(user_model)).first()
    if found is not None:
        held[_STORED] = before._replace(**found)


def fields_of(user_model: Any) -> list[str]:
    """Return which fields of `Loaded` are stored: a model may have a constant in place of one."""
    stored = {field.attname for field in user_model._meta.concrete_fields}  # noqa: SLF001  (as above)
    return [name for name in Loaded._fields if name in stored]


def _saved(held: dict[str, Any], before: Loaded, update_fields: Any) -> Loaded:
    """Return what is stored once *held* is saved over *before*."""
    saved = {
        name: held.get(name)
        for name in Loaded._fields
        if update_fields is None or name in update_fields
    }
    return before._replace(**saved)


def _compare(
    *, instance: Any, created: bool, using: str, update_fields: Any = None, **kwargs: Any
) -> None:
    if kwargs.get("raw"):
        return
    held = instance.__dict__
    before = held.get(_LOADED) or Loaded(None, None)
    after = _saved(held, before, update_fields)
    stored = held.pop(_STORED, None)
    reason = None if created else reason_for(before if stored is None else stored, after)

    def note() -> None:
        held[_LOADED] = after

    # After a rollback it is to be compared again.
    if reason is not None:
        _end_after_commit(instance, reason, using, note)
    elif stored is not None and transaction.get_connection(using).in_atomic_block:
        transaction.on_commit(note, using=using, robust=True)
    else:
        note()


def _end_deleted(*, instance: Any, using: str, **_kwargs: Any) -> None:
    _end_after_commit(instance, "deleted", using)


def _end_after_commit(
    user: Any, reason: str, using: str, note: Callable[[], None] = lambda: None
) -> None:
    if reason not in config().end_sessions_on:
        note()
        return
    # A user that was deleted has no id any more when the transaction is committed.
    user_id = user_sessions.id_of(user)

    def end() -> None:
        note()
        _end(user_id, reason)

    connection = transaction.get_connection(using)
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(end, using=using, robust=True)
    else:
        NOT_ENDED.write(user_id, reason, "its transaction is managed by hand.")


def _end(user_id: str, reason: str) -> None:
    spared = own_session() if reason == "password" else None
    try:
        user_sessions.end_all_but(user_id, spared)
    except NotIndexed:
        # Django refuses these sessions at their next request, as with its own engines.
        return
    except (StoreUnavailable, SessionConflict) as problem:
        NOT_ENDED.write(user_id, reason, problem)
