"""The code that the page on limits shows: a function, a form, an API and a mail."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail
from django.dispatch import Signal
from django.test import Client
from django.urls import path

from django_multisession import signals
from django_multisession.engine import close_drivers
from django_multisession.user_sessions import list_sessions
from tests.docs.pages import Block, blocks_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django import Settings

PAGE = "docs/howto/limit-sessions.md"
FILES = {"shop/limits.py", "shop/forms.py", "shop/api.py", "shop/receivers.py"}

pytestmark = pytest.mark.django_db


def runs(block: Block) -> bool:
    return block.page == PAGE and block.file in FILES


def shown(file: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    (block,) = (block for block in blocks_of(PAGE) if block.file == file)
    module = types.ModuleType(file.removesuffix(".py").replace("/", "."))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block.text, vars(module))
    return module


@pytest.fixture
def ada(settings: Settings, django_user_model: type[User]) -> User:
    settings.SESSION_ENGINE = "django_multisession.engines.memory"
    close_drivers()
    return django_user_model.objects.create_user("ada", "ada@example.com", "secret")


def test_the_function_shown_limits_all_but_the_staff(
    ada: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = shown("shop/limits.py", monkeypatch).most_sessions
    for _ in range(5):
        Client().force_login(ada)
    assert len(list_sessions(ada)) == 3
    ada.is_staff = True
    ada.save()
    for _ in range(2):
        Client().force_login(ada)
    assert len(list_sessions(ada)) == 5


def test_the_form_and_the_api_shown_deny_a_login(
    ada: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MULTISESSION_MAX_SESSIONS, settings.MULTISESSION_AT_LIMIT = 1, "deny"
    urls: Any = types.ModuleType("urls_of_limits")
    urls.urlpatterns = [path("api", shown("shop/api.py", monkeypatch).Login.as_view())]
    settings.ROOT_URLCONF = urls
    settings.MIDDLEWARE = ["django_multisession.middleware.SessionMiddleware"]
    form = shown("shop/forms.py", monkeypatch).LoginForm
    given = {"username": "ada", "password": "secret"}
    assert form(None, given).is_valid()
    assert Client().post("/api", given).json() == {"id": ada.pk}
    assert form(None, given).has_error("__all__", "session_limit")
    answer = Client().post("/api", given)
    assert answer.status_code == 403
    assert "as many devices as are allowed" in answer.json()["detail"]


@pytest.fixture
def own_signal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signal]:
    """The signal with its receivers as they were, afterwards."""
    before = list(signals.session_ended.receivers)
    yield signals.session_ended
    signals.session_ended.receivers = before
    signals.session_ended.sender_receivers_cache.clear()


def test_the_receiver_shown_mails_the_user(
    ada: User, settings: Settings, own_signal: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MULTISESSION_MAX_SESSIONS = 1
    shown_module = shown("shop/receivers.py", monkeypatch)
    first = Client()
    first.force_login(ada)
    first.logout()
    assert mail.outbox == []
    for _ in range(2):
        Client().force_login(ada)
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]
    assert shown_module.tell_of_limit
