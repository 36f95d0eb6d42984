"""The user that a command names."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from django_multisession.user_sessions import id_of

#: Begins an id. The user with the id may have been deleted.
BY_ID = "id="

HELP = f"A username or an id; {BY_ID}… for an id that is a username too, or a deleted user's."


def named_user(given: str) -> Any:
    """Return the user with the username or the id *given*.

    Raises:
        CommandError: There is none, or there are two.
    """
    model = get_user_model()
    if given.startswith(BY_ID):
        by_name, by_id = None, _with_id(model, given.removeprefix(BY_ID))
    else:
        by_name, by_id = _by_name(model, given), _by_id(model, given)
    if by_name is not None and by_id is not None and by_name.pk != by_id.pk:
        raise CommandError(
            f"{given!r} is the username of one user and the id of another. "
            f"Name the user by the id: {BY_ID}{id_of(by_name)} or {BY_ID}{given}."
        )
    found = by_name if by_name is not None else by_id
    if found is None:
        raise CommandError(f"There is no user {given!r}. Name a deleted user by {BY_ID}ID.")
    return found


def _by_name(model: Any, given: str) -> Any:
    try:
        return model._default_manager.get_by_natural_key(given)  # noqa: SLF001  (Django's own name)
    except model.DoesNotExist:
        return None


def _by_id(model: Any, given: str) -> Any:
    user = _with_id(model, given)
    # Of a user that isn't there, nothing but the id is known.
    manager = model._base_manager  # noqa: SLF001  (as above)
    return user if user is not None and manager.filter(pk=user.pk).exists() else None


def _with_id(model: Any, given: str) -> Any:
    try:
        user = model(pk=model._meta.pk.to_python(given))  # noqa: SLF001  (as above)
    except ValidationError:
        return None
    # Python reads "1_0" as 10: a slip must not name another user.
    return user if id_of(user) == given else None
