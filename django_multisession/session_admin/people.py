"""The users behind sessions: by what an admin types, and their names for a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.urls import NoReverseMatch, reverse

from django_multisession.user_sessions import id_of


def user_ids_of(typed: str) -> set[str]:
    """Return the ids that *typed* may mean: itself, also if its user is gone, and that of the user with this name."""
    model: Any = get_user_model()
    try:
        return {typed, id_of(model._default_manager.get_by_natural_key(typed))}  # noqa: SLF001  (Django's name)
    except (model.DoesNotExist, model.MultipleObjectsReturned, AttributeError, ValueError):
        return {typed}


def users_of(user_ids: Iterable[str]) -> dict[str, Any]:
    """Return the users that exist, by the ids that their sessions have, by one query."""
    model: Any = get_user_model()
    key, keys = model._meta.pk, set()  # noqa: SLF001  (Django's name)
    for user_id in set(user_ids):
        try:
            keys.add(key.to_python(user_id))
        except ValidationError:
            continue
    return {id_of(user): user for user in model._default_manager.filter(pk__in=keys)}  # noqa: SLF001  (as above)


def page_of(user: Any, site_name: str) -> str | None:
    """Return the address of the user's page in the admin; None if it has none."""
    meta = type(user)._meta  # noqa: SLF001  (Django's name)
    name = f"admin:{meta.app_label}_{meta.model_name}_change"
    try:
        return reverse(name, args=[quote(user.pk)], current_app=site_name)
    except NoReverseMatch:
        return None
