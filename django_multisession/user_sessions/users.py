"""The users of sessions: by what people type, and by the ids that sessions have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from django_multisession.user_sessions import id_of


def named(username: str) -> Any | None:
    """Return the user with *username*; None if there is none."""
    model: Any = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(username)  # noqa: SLF001  (Django's own name)
    except (model.DoesNotExist, model.MultipleObjectsReturned, AttributeError, ValueError):
        return None


def with_id(user_id: str) -> Any | None:
    """Return a user with *user_id*, without a query; None if that can't be an id.

    The user may be gone: nothing but the id is known.
    """
    model: Any = get_user_model()
    field = model._meta.pk  # noqa: SLF001  (as above)
    try:
        user = model(pk=field.to_python(user_id))
        # A number that the database can't hold is an error there.
        field.run_validators(user.pk)
    except ValidationError:
        return None
    # Python reads "1_0" as 10: a slip must not name another user.
    return user if id_of(user) == user_id else None


def existing(user_ids: Iterable[str]) -> dict[str, Any]:
    """Return those of the users with *user_ids* that exist, by their ids, by one query."""
    model: Any = get_user_model()
    keys = {user.pk for user in map(with_id, set(user_ids)) if user is not None}
    # A manager of the site's may hide users.
    return {id_of(user): user for user in model._base_manager.filter(pk__in=keys)}  # noqa: SLF001  (as above)
