"""The settings that the pages show are right: they pass the system checks."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import checks
from django.db import connections
from django.test import override_settings

from django_multisession.settings import conf
from django_multisession.testing.rows import for_each
from tests.docs.pages import PAGES, ROOT, Block, blocks, blocks_of, changed
from tests.rows import restoring
from tests.started_project import TEMPLATES

#: What `django-admin startproject` writes before them.
STARTED: dict[str, Any] = {
    "BASE_DIR": ROOT,
    "INSTALLED_APPS": [
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    "MIDDLEWARE": [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
}
#: What it writes that no page changes.
SITE: dict[str, Any] = {
    "ROOT_URLCONF": "tests.urls",
    "STATIC_URL": "static/",
    "TEMPLATES": TEMPLATES,
}
ENVIRONMENT = {
    "DATABASE_PASSWORD": "p" * 20,
    "MONGODB_PASSWORD": "p" * 20,
    "REDIS_PASSWORD": "p" * 20,
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "SECRET_KEY": "k" * 60,
}
MIDDLEWARES = {
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django_multisession.middleware.SessionMiddleware",
}
ENGINES = {"MULTISESSION_REDIS": "redis", "MULTISESSION_MONGODB": "mongodb"}


def runs(block: Block) -> bool:
    return block.language == "diff" or (block.language == "python" and block.kind == "settings")


def execute(block: Block, before: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that hold after *block*, at the end of a file with *before*."""
    shown = copy.deepcopy(before)
    exec(changed(written(before), block.text) if block.language == "diff" else block.text, shown)
    return {name: value for name, value in shown.items() if name.isupper()}


def written(settings: dict[str, Any]) -> str:
    """Return the lists of *settings* as a file has them, one entry a line."""
    lists = {name: value for name, value in settings.items() if isinstance(value, list)}
    return "".join(
        f"{name} = [\n" + "".join(f"    {entry!r},\n" for entry in entries) + "]\n"
        for name, entries in lists.items()
    )


def modules_named(page: str) -> Iterator[types.ModuleType]:
    """Yield the modules that *page* shows and its settings name by a dotted path."""
    for block in blocks_of(page):
        name = block.file.removesuffix(".py").replace("/", ".")
        if name and any(f'"{name}.' in other.text for other in filter(runs, blocks_of(page))):
            module = types.ModuleType(name)
            exec(block.text, module.__dict__)
            yield module


def configure_logging(shown: dict[str, Any]) -> None:
    """Have another process take it: it raises at an unknown handler, level or class."""
    script = "import json, logging.config; logging.config.dictConfig(json.loads(input()))"
    command = [sys.executable, "-c", script]
    subprocess.run(command, input=json.dumps(shown), text=True, check=True, timeout=60)


@for_each("page", sorted({block.page for block in filter(runs, blocks())}))
# A page says how SQLite is set up; no query is made.
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@restoring
def test_the_settings_shown_pass_the_checks(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for module in modules_named(page):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    settings = dict(STARTED)
    for block in filter(runs, blocks()):
        if block.page != page:
            continue
        before, settings = settings, execute(block, settings)
        assert settings != before, f"{block} sets nothing"
        # A process that runs can't be given other databases, but further names of the one that it has.
        for alias in settings.pop("DATABASES", {}):
            monkeypatch.setitem(connections.settings, alias, connections.settings["default"])
        named = {name: value for name, value in settings.items() if value != before.get(name)}
        for name in ENGINES.keys() & named.keys() if "SESSION_ENGINE" not in named else ():
            settings["SESSION_ENGINE"] = f"django_multisession.engines.{ENGINES[name]}"
        if "django_multisession" not in settings["INSTALLED_APPS"]:
            settings["INSTALLED_APPS"] = ["django_multisession", *settings["INSTALLED_APPS"]]
        with override_settings(**SITE, **settings):
            assert conf.problems() == [], block
            found = [
                message
                for message in checks.run_checks()
                if message.is_serious() or (message.id or "").startswith("multisession.")
            ]
            if "INSTALLED_APPS" in named or "MIDDLEWARE" in named:
                assert found == [], block
            assert [m for m in found if (m.id or "").startswith("multisession.E")] == [], block
        if "LOGGING" in named:
            configure_logging(named["LOGGING"])
        assert len(MIDDLEWARES & set(settings["MIDDLEWARE"])) == 1, block


@for_each("diff", ['-    "an.app",', '     "an.app",'])
def test_a_diff_of_a_line_that_is_not_there_is_noticed(diff: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        changed(written(STARTED), diff)


def test_settings_are_shown() -> None:
    """Whoever breaks what finds them must notice."""
    assert {block.page for block in filter(runs, blocks())} >= {
        "README.md",
        "docs/howto/production-settings.md",
        "docs/reference/settings.md",
    }
    assert set(PAGES) >= {"README.md"}
