"""Two people who can log in, without a database."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

BACKEND = "tests.web.people.Backend"

_IDS = {"ada": 1, "bob": 2}

#: Name → password, as it would be stored. The `site` fixture sets it back after each test.
passwords: dict[str, str] = {}


def person(name: str) -> User:
    return User(
        pk=_IDS[name], username=name, password=passwords.setdefault(name, f"password of {name}")
    )


class Backend:
    """Knows them by their id."""

    def get_user(self, user_id: Any) -> User | None:
        """Return who has *user_id*; Django's middleware asks."""
        return next((person(name) for name, its in _IDS.items() if its == int(user_id)), None)

    async def aget_user(self, user_id: Any) -> User | None:
        """See get_user()."""
        return self.get_user(user_id)
