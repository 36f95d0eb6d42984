"""The shop's production settings: nothing is left to say about them, until a protection goes."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers import RedisServer

from tests.drivers.problems import OF_RELEASES
from tests.selection import left_to_release

if TYPE_CHECKING:
    from tests.conftest import Running

REPOSITORY = Path(__file__).resolve().parent.parent
TESTPROJECT = REPOSITORY / "testproject"
SILENCE = "System check identified no issues (0 silenced).\n"
# Nobody listens on it: it takes a privilege to.
NOWHERE = "127.0.0.1:1"

PLAIN_NAME = 'SESSION_COOKIE_NAME = "sessionid"'
WITH_DJANGOS_MIDDLEWARE = (
    'MIDDLEWARE = [name.replace("django_multisession.", "django.contrib.sessions.") '
    "for name in MIDDLEWARE]"
)
#: Of what is removed, for CI: what each check finds is tested in tests/unit.
IN_CI = ("Secure", "HttpOnly", "the engine's memory", "the idle timeout")
#: What is removed → the ids of what must be said then, with the lines that remove it.
WEAKENINGS: dict[str, tuple[set[str], list[str]]] = {
    "Secure": (
        {"multisession.E015", "multisession.W120"},
        ["SESSION_COOKIE_SECURE = False"],
    ),
    "Secure, without a prefix": (
        {"multisession.W120"},
        ["SESSION_COOKIE_SECURE = False", PLAIN_NAME],
    ),
    "Secure, under Django's middleware": (
        {"security.W011", "multisession.I130"},
        ["SESSION_COOKIE_SECURE = False", PLAIN_NAME, WITH_DJANGOS_MIDDLEWARE],
    ),
    "HttpOnly": ({"multisession.W121"}, ["SESSION_COOKIE_HTTPONLY = False"]),
    "HttpOnly, with a prefix that asks for it": (
        {"multisession.E015", "multisession.W121"},
        ["SESSION_COOKIE_HTTPONLY = False", 'SESSION_COOKIE_NAME = "__Host-Http-sessionid"'],
    ),
    "SameSite": ({"multisession.W122"}, ["SESSION_COOKIE_SAMESITE = None"]),
    "SameSite, by name": ({"multisession.W122"}, ['SESSION_COOKIE_SAMESITE = "None"']),
    "SameSite and Secure": (
        {"multisession.E016", "multisession.W120", "multisession.W122"},
        ['SESSION_COOKIE_SAMESITE = "None"', "SESSION_COOKIE_SECURE = False", PLAIN_NAME],
    ),
    "a SameSite that there is": (
        {"multisession.E021"},
        ['SESSION_COOKIE_SAMESITE = "Laxx"'],
    ),
    "the path of the prefix": ({"multisession.E015"}, ['SESSION_COOKIE_PATH = "/shop/"']),
    "the host of the prefix": ({"multisession.E015"}, ['SESSION_COOKIE_DOMAIN = "shop.example"']),
    "a name that a cookie can have": (
        {"multisession.E022"},
        ['SESSION_COOKIE_NAME = "session id"'],
    ),
    "JSON": (
        {"multisession.W123"},
        ['SESSION_SERIALIZER = "django_redis.serializers.pickle.PickleSerializer"'],
    ),
    "the serializer": ({"multisession.E017"}, ['SESSION_SERIALIZER = "shop.NoSuchSerializer"']),
    "the idle timeout": ({"multisession.W124"}, ["MULTISESSION_IDLE_TIMEOUT = None"]),
    "the absolute timeout": ({"multisession.W125"}, ["MULTISESSION_ABSOLUTE_TIMEOUT = None"]),
    "the spelling of a setting": ({"multisession.E014"}, ["MULTISESSION_IDLE_TIMEUOT = 60"]),
    "the engine's memory": (
        {"multisession.W126"},
        ['SESSION_ENGINE = "django_multisession.engines.memory"'],
    ),
    "the engine": (
        {"multisession.W127", "multisession.W063", "multisession.E064"},
        ['SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"'],
    ),
    "the spelling of the engine": (
        {"multisession.E020"},
        ['SESSION_ENGINE = "django_multisession.engines.redsi"'],
    ),
    "the engine's package": (
        {"multisession.E031"},
        ['SESSION_ENGINE = "django_multisesion.engines.redis"'],
    ),
    "the sense of the idle timeout": (
        {"multisession.W032"},
        ["MULTISESSION_IDLE_TIMEOUT = timedelta(days=1)"],
    ),
    "the place of the session middleware": (
        {"multisession.E030"},
        ["MIDDLEWARE = [*MIDDLEWARE[::-1]]"],
    ),
    "the session middleware": (
        {"multisession.E030", "admin.E410"},
        ['MIDDLEWARE = [path for path in MIDDLEWARE if "Session" not in path]'],
    ),
    "the middleware that ignores an interrupted request": (
        {"multisession.W029", "multisession.I130"},
        ['MULTISESSION_ON_INTERRUPTED = "ignore"', WITH_DJANGOS_MIDDLEWARE],
    ),
    "a resolver's sense": (
        {"multisession.W033"},
        [
            'MULTISESSION_CONFLICT_RESOLVERS = {"_auth_user_id": "django_multisession.resolvers.union"}'
        ],
    ),
    "the server": (
        {"multisession.W101"},
        [f'MULTISESSION_REDIS = {{"URL": "redis://{NOWHERE}/0"}}'],
    ),
    "the server's address": ({"multisession.E009"}, ["MULTISESSION_REDIS = {}"]),
    "the only session middleware": (
        {"multisession.E018"},
        ['MIDDLEWARE += ["django.contrib.sessions.middleware.SessionMiddleware"]'],
    ),
    "our command": (
        {"multisession.W019"},
        ['INSTALLED_APPS = ["django.contrib.sessions", *INSTALLED_APPS]'],
    ),
    "the secret": ({"security.W009"}, ['SECRET_KEY = "shop"']),
    "the hosts": ({"security.W020"}, ["ALLOWED_HOSTS = []"]),
    "the Secure of the CSRF cookie": ({"security.W016"}, ["CSRF_COOKIE_SECURE = False"]),
    "HTTPS": ({"security.W008"}, ["SECURE_SSL_REDIRECT = False"]),
    "HSTS": ({"security.W004"}, ["SECURE_HSTS_SECONDS = 0"]),
    "the end of debugging": ({"security.W018"}, ["DEBUG = True"]),
}

VISIT = """
import json
import django
django.setup()
from django.conf import global_settings, settings
from django.test import Client

client = Client()
to_http = client.get("/")
shown = client.get("/", secure=True)
client.post("/cart/add/ink/", secure=True)
cookie = client.cookies["__Host-sessionid"]
print(json.dumps({
    "http": [to_http.status_code, to_http["Location"]],
    "https": [shown.status_code, shown["Strict-Transport-Security"]],
    "cookie": {name: value for name, value in cookie.items() if value and name != "expires"},
    "entries": client.get("/state.json", secure=True).json()["entries"],
    "has_slow_hashes": settings.PASSWORD_HASHERS == global_settings.PASSWORD_HASHERS,
}))
"""


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=TESTPROJECT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def check(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # manage.py sets shop.settings: the option wins.
    settings = () if "--settings" in options else ("--settings", "shop.production")
    return run("manage.py", "check", *settings, *options, **variables)


def ids_in(output: str) -> set[str]:
    """Return the ids in *output*, but for those of releases, which are the test machine's affair."""
    return set(re.findall(r"\(([a-z]+\.[EWI]\d+)\)", output)) - OF_RELEASES


@pytest.fixture
def secrets_of_the_site() -> dict[str, str]:
    return {"SHOP_SECRET_KEY": secrets.token_urlsafe(50), "SHOP_HOSTS": "shop.example testserver"}


@pytest.fixture
def on_redis(secrets_of_the_site: dict[str, str], newest_redis: RedisServer) -> dict[str, str]:
    return secrets_of_the_site | {
        "MULTISESSION_DEMO_ENGINE": "redis",
        "MULTISESSION_DEMO_REDIS_URL": newest_redis.url,
    }


@pytest.fixture(
    params=[
        "redis",
        pytest.param("mongodb-standalone", marks=pytest.mark.long),
        pytest.param("mongodb-replica-set", marks=pytest.mark.long),
    ]
)
def on_each_engine(
    request: pytest.FixtureRequest, secrets_of_the_site: dict[str, str], running_servers: Running
) -> dict[str, str]:
    if request.param == "redis":
        variables: dict[str, str] = request.getfixturevalue("on_redis")
        return variables
    return secrets_of_the_site | {
        "MULTISESSION_DEMO_ENGINE": "mongodb",
        "MULTISESSION_DEMO_MONGODB_URI": running_servers.mongodb_of(request.param).url,
    }


def test_nothing_is_left_to_say_about_the_production_settings(
    on_each_engine: dict[str, str],
) -> None:
    done = check("--deploy", "--fail-level", "WARNING", **on_each_engine)
    assert ids_in(done.stderr) == set()
    is_old_release = done.stderr.endswith("System check identified 1 issue (0 silenced).\n")
    assert is_old_release or (done.stderr, done.stdout, done.returncode) == ("", SILENCE, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    "removed",
    left_to_release(WEAKENINGS, IN_CI),
)
def test_a_protection_that_is_removed_is_missed(
    removed: str, on_redis: dict[str, str], tmp_path: Path
) -> None:
    expected, lines = WEAKENINGS[removed]
    settings = tmp_path / "weakened.py"
    settings.write_text("\n".join(["from shop.production import *", *lines]), encoding="utf-8")
    variables = on_redis | {"PYTHONPATH": str(tmp_path)}
    done = check("--deploy", "--fail-level", "WARNING", "--settings", "weakened", **variables)
    assert ids_in(done.stderr) == expected, done.stderr
    assert done.stderr.count("HINT: ") >= sum("multisession" in each for each in expected)
    assert done.returncode == 1


@pytest.mark.long
def test_the_servers_are_not_asked_while_an_image_is_built() -> None:
    # There are no secrets and no servers then.
    urls = {
        "MULTISESSION_DEMO_REDIS_URL": f"redis://{NOWHERE}/0",
        "SHOP_SECRET_KEY": "",
        "SHOP_HOSTS": "",
    }
    done = check("--fail-level", "WARNING", **urls)
    assert done.stderr == ""
    assert done.stdout == SILENCE


@pytest.mark.long
def test_the_site_has_no_secret_of_its_own(on_redis: dict[str, str]) -> None:
    done = check("--deploy", **on_redis | {"SHOP_SECRET_KEY": ""})
    assert ids_in(done.stderr) == {"security.W009"}
    assert done.returncode == 0


@pytest.mark.long
def test_the_site_is_for_the_hosts_it_is_told(on_redis: dict[str, str]) -> None:
    done = check("--deploy", **on_redis | {"SHOP_HOSTS": ""})
    assert ids_in(done.stderr) == {"security.W020"}


@pytest.mark.long
def test_the_demonstrations_settings_are_not_for_production(on_redis: dict[str, str]) -> None:
    done = check("--deploy", "--settings", "shop.settings", **on_redis)
    assert {"security.W009", "security.W018"} <= ids_in(done.stderr)


def test_the_site_in_production_keeps_its_sessions(on_each_engine: dict[str, str]) -> None:
    done = run(
        "-c",
        VISIT,
        DJANGO_SETTINGS_MODULE="shop.production",
        PYTHONPATH=str(REPOSITORY),
        **on_each_engine,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["http"] == [301, "https://testserver/"]
    assert seen["https"] == [200, "max-age=31536000; includeSubDomains; preload"]
    assert seen["cookie"] == {
        "path": "/",
        "secure": True,
        "httponly": True,
        "samesite": "Lax",
        "max-age": 30 * 60,
    }
    assert seen["entries"] == ["cart"]
    assert seen["has_slow_hashes"]
