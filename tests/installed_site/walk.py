"""Walk through the site: fill the cart, log in, log out. Says what it ran, or fails."""

from __future__ import annotations

import asyncio
import json
import sys

import django
import django.test


def walk() -> None:
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection
    from django.test import AsyncClient, Client

    call_command("migrate", verbosity=0)
    assert not [name for name in connection.introspection.table_names() if "session" in name]
    User.objects.create_user("ada", password="correct horse")

    client = Client()
    client.post("/fill/")
    client.post("/add/")
    anonymous_key = client.cookies["sessionid"].value
    assert client.get("/").json() == {"user": "", "cart": ["tea", "cup"]}

    answer = client.post("/login/", {"username": "ada", "password": "correct horse"})
    assert answer.status_code == 302
    key = client.cookies["sessionid"].value
    assert key != anonymous_key
    assert client.get("/").json() == {"user": "ada", "cart": ["tea", "cup"]}
    assert asyncio.run(seen_by(AsyncClient(), key)) == {"user": "ada", "cart": ["tea", "cup"]}

    assert client.post("/logout/").status_code == 302
    assert client.cookies["sessionid"].value == ""
    assert asyncio.run(seen_by(AsyncClient(), key)) == {"user": "", "cart": None}


async def seen_by(client: django.test.AsyncClient, key: str) -> object:
    client.cookies["sessionid"] = key
    return (await client.get("/")).json()


if __name__ == "__main__":
    django.setup()
    walk()
    import django_multisession

    where = django_multisession.__file__
    assert where.startswith(sys.prefix), where
    json.dump(
        {
            "version": django_multisession.__version__,
            "drivers": sorted(
                name
                for name in ("redis", "django_redis", "pymongo", "pymemcache")
                if name in sys.modules
            ),
        },
        sys.stdout,
    )
