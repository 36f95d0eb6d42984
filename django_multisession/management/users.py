"""The user that a command names."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from django_multisession.user_sessions import id_of, users

#: Begins an id. The user with the id may have been deleted.
BY_ID = "id="

HELP = f"A username or an id; {BY_ID}… for an id that is a username too, or a deleted user's."


def named_user(given: str) -> Any:
    """Return the user with the username or the id *given*.

    Raises:
        CommandError: There is none, or there are two.
    """
    if given.startswith(BY_ID):
        by_name, by_id = None, users.with_id(given.removeprefix(BY_ID))
    else:
        by_name, by_id = users.named(given), users.existing([given]).get(given)
    if by_name is not None and by_id is not None and by_name.pk != by_id.pk:
        raise CommandError(
            f"{given!r} is the username of one user and the id of another. "
            f"Name the user by the id: {BY_ID}{id_of(by_name)} or {BY_ID}{given}."
        )
    found = by_name if by_name is not None else by_id
    if found is None:
        raise CommandError(f"There is no user {given!r}. Name a deleted user by {BY_ID}ID.")
    return found
