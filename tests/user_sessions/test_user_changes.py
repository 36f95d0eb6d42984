"""A change of a user ends the user's sessions, and an outage breaks no save."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model, login
from django.contrib.auth.models import AbstractBaseUser, User
from django.contrib.auth.tokens import default_token_generator
from django.contrib.auth.views import PasswordChangeView, PasswordResetConfirmView
from django.core.management import call_command
from django.db import connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import isolate_apps
from django.urls import path
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from django_multisession.core.records import Tombstone
from django_multisession.drivers.base import run as carry_out
from django_multisession.engine import close_drivers
from django_multisession.engines import memory
from django_multisession.testing.rows import for_each
from django_multisession.user_changes import Loaded, fields_of, reason_for
from django_multisession.user_sessions import id_of

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = "correct horse", "battery staple"


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


def sign_up(request: HttpRequest) -> HttpResponse:
    user = User.objects.create_user("eve")
    user.set_password(AFTER)
    user.save()
    login(request, user)
    return HttpResponse()


urlpatterns = [
    path("who", who),
    path("sign-up", sign_up),
    path("change", PasswordChangeView.as_view(success_url="/who")),
    path(
        "reset/<uidb64>/<token>",
        PasswordResetConfirmView.as_view(success_url="/who", post_reset_login=True),
    ),
]


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.memory"
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        "django_multisession.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    close_drivers()


@pytest.fixture
def ada(site: None) -> User:
    return User.objects.create_user("ada", password=BEFORE)


@pytest.fixture
def browsers(ada: User) -> list[Client]:
    found = [Client() for _ in range(3)]
    for browser in found:
        assert browser.login(username="ada", password=BEFORE)
    return found


def ended(browser: Client) -> bool:
    """Is the session ended in the store, and not only refused by Django?"""
    driver = memory.SessionStore.get_driver()
    key: Any = memory.SessionStore(browser.cookies["sessionid"].value)._recognized.key
    stored = carry_out(driver.get(key.storage_key))
    return stored is None or isinstance(stored, Tombstone)


def set_password(user: User) -> None:
    user.set_password(AFTER)
    user.save()


def set_hash(user: User) -> None:
    user.password = "x"
    user.save(update_fields=["password"])


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def delete(user: User) -> None:
    user.delete()


def asave(user: User) -> None:
    user.set_password(AFTER)
    asyncio.run(user.asave())


def by_proxy(user: User) -> None:
    loaded = get_user_model().objects.only("pk").get(pk=user.pk)
    loaded.set_password(AFTER)
    loaded.save()


@pytest.mark.parametrize("change", [set_password, set_hash, deactivate, delete, asave, by_proxy])
def test_a_change_of_a_user_ends_the_sessions(
    ada: User, browsers: list[Client], change: Callable[[User], None]
) -> None:
    stranger = Client()
    stranger.force_login(User.objects.create_user("bob"))
    change(ada)
    assert [ended(browser) for browser in browsers] == [True, True, True]
    assert not ended(stranger)


def rename(user: User) -> None:
    user.first_name = "Ada"
    user.save()


def save_another_field(user: User) -> None:
    user.password = "x"
    user.save(update_fields=["first_name"])


def save_a_deferred_field_that_was_read(user: User) -> None:
    loaded = User.objects.only("first_name").get(pk=user.pk)
    assert loaded.password
    loaded.save()


def save_with_deferred_fields(user: User) -> None:
    loaded = User.objects.only("is_active").get(pk=user.pk)
    assert loaded.is_active
    loaded.save(update_fields=["is_active", "first_name"])


def save_a_refreshed_user(user: User) -> None:
    # Another process changes the hash, and its site's sessions stay valid: a bulk update ends none.
    User.objects.filter(pk=user.pk).update(password="x")
    user.refresh_from_db()
    user.save()


def save_a_refreshed_user_in_a_transaction(user: User) -> None:
    with transaction.atomic():
        save_a_refreshed_user(user)


def update_in_bulk(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@for_each(
    "change",
    [
        rename,
        save_another_field,
        save_a_deferred_field_that_was_read,
        save_with_deferred_fields,
        save_a_refreshed_user,
        save_a_refreshed_user_in_a_transaction,
        update_in_bulk,
    ],
)
def test_another_change_ends_none(
    ada: User, browsers: list[Client], change: Callable[[User], None]
) -> None:
    change(ada)
    assert not any(ended(browser) for browser in browsers)


@pytest.mark.parametrize(("kept", "change"), [("password", deactivate), ("deactivated", delete)])
def test_the_setting_says_which_changes_end_sessions(
    settings: Settings, ada: User, browsers: list[Client], kept: str, change: Any
) -> None:
    settings.MULTISESSION_END_SESSIONS_ON = (kept,)
    change(ada)
    assert not any(ended(browser) for browser in browsers)


def test_the_command_that_changes_a_password_ends_the_sessions(
    browsers: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.management.commands import changepassword

    monkeypatch.setattr(changepassword.Command, "_get_pass", lambda *_arguments: AFTER)
    call_command("changepassword", "ada", verbosity=0)
    assert all(ended(browser) for browser in browsers)


def test_a_password_that_is_changed_by_its_user_leaves_the_own_session(
    browsers: list[Client],
) -> None:
    mine, *others = browsers
    form = {"old_password": BEFORE, "new_password1": AFTER, "new_password2": AFTER}
    assert mine.post("/change", form).status_code == 302
    assert mine.get("/who").content == b"ada"
    assert [ended(browser) for browser in others] == [True, True]


@pytest.mark.parametrize("is_atomic", [False, True])
def test_a_login_behind_a_reset_password_stays(
    ada: User, browsers: list[Client], monkeypatch: pytest.MonkeyPatch, is_atomic: bool
) -> None:
    # Where requests are transactions, the sessions end behind the login.
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)
    ada.refresh_from_db()
    visitor = Client()
    uid = urlsafe_base64_encode(force_bytes(ada.pk))
    asked = visitor.get(f"/reset/{uid}/{default_token_generator.make_token(ada)}")
    form = {"new_password1": AFTER, "new_password2": AFTER}
    assert visitor.post(asked["Location"], form).status_code == 302
    assert visitor.get("/who").content == b"ada"
    assert all(ended(browser) for browser in browsers)


@pytest.mark.parametrize("is_atomic", [False, True])
def test_a_first_login_behind_a_change_of_the_password_stays(
    monkeypatch: pytest.MonkeyPatch, *, is_atomic: bool
) -> None:
    # As where authenticate() upgrades a hash.
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)
    moments, began = itertools.count(), timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: began + timedelta(milliseconds=next(moments)))
    visitor = Client()
    assert visitor.get("/sign-up").status_code == 200
    assert visitor.get("/who").content == b"eve"


def test_sessions_end_when_the_change_is_committed(ada: User, browsers: list[Client]) -> None:
    with transaction.atomic():
        set_password(ada)
        assert not any(ended(browser) for browser in browsers)
    assert all(ended(browser) for browser in browsers)


def test_a_change_that_is_rolled_back_ends_none(ada: User, browsers: list[Client]) -> None:
    with transaction.atomic():
        set_password(ada)
        transaction.set_rollback(True)
    assert not any(ended(browser) for browser in browsers)
    ada.save()
    assert all(ended(browser) for browser in browsers)


def test_a_second_save_of_a_change_that_is_rolled_back_ends_none(
    ada: User, browsers: list[Client]
) -> None:
    with transaction.atomic():
        set_password(ada)
        ada.save()
        transaction.set_rollback(True)
    assert not any(ended(browser) for browser in browsers)
    ada.save()
    assert all(ended(browser) for browser in browsers)


def test_a_transaction_that_is_managed_by_hand_breaks_no_save(
    ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    transaction.set_autocommit(False)
    try:
        set_password(ada)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert [line for line in caplog.messages if "managed by hand" in line]


def test_a_child_of_the_user_model_has_the_sessions_of_its_user() -> None:
    number = models.AutoField(primary_key=True)
    with isolate_apps("tests.user_sessions"):
        fields = {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "staff"}),
            "number": number,
            "user": models.OneToOneField(User, models.CASCADE, parent_link=True),
        }
        staff = type("Staff", (User,), fields)
        assert id_of(staff(id=7, user_id=7, number=1)) == "7"


def test_an_outage_breaks_no_save(
    settings: Settings, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.redis"
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:9/0"}
    close_drivers()
    with caplog.at_level(logging.ERROR, "django_multisession"):
        set_password(ada)
    ada.refresh_from_db()
    assert ada.check_password(AFTER)
    told = [line for line in caplog.messages if "were not ended" in line]
    assert told[0].startswith(
        f"The sessions of user {ada.pk} were not ended after a change (password)"
    )
    close_drivers()


@pytest.mark.parametrize(
    "engine", ["django_multisession.engines.cookie", "django.contrib.sessions.backends.cache"]
)
def test_an_engine_that_finds_no_sessions_breaks_no_save(
    settings: Settings, ada: User, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSION_ENGINE = engine
    set_password(ada)
    ada.refresh_from_db()
    assert ada.check_password(AFTER)
    assert caplog.messages == []


def test_a_user_costs_no_query_more(ada: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        loaded = User.objects.get(pk=ada.pk)
        loaded.save()
    with django_assert_num_queries(2):
        User.objects.only("first_name").get(pk=ada.pk).save()
    with django_assert_num_queries(1):
        User.objects.create(username="bob", password="x")


def test_a_change_costs_a_query_more(ada: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        set_password(ada)
    with django_assert_num_queries(1):
        ada.save()


def deactivate_unknown(user: User) -> None:
    loaded = User.objects.only("first_name").get(pk=user.pk)
    loaded.is_active = False
    loaded.save()


def set_the_password_of_a_refreshed_user(user: User) -> None:
    user.refresh_from_db()
    set_hash(user)


@pytest.mark.parametrize("change", [deactivate_unknown, set_the_password_of_a_refreshed_user])
def test_a_change_of_what_was_not_loaded_ends_the_sessions(
    ada: User, browsers: list[Client], change: Callable[[User], None]
) -> None:
    change(ada)
    assert all(ended(browser) for browser in browsers)


def test_a_user_model_with_a_constant_in_place_of_a_field_is_read_without_it() -> None:
    with isolate_apps("tests.user_sessions"):
        meta = type("Meta", (), {"app_label": "staff"})
        staff = type("Staff", (AbstractBaseUser,), {"__module__": __name__, "Meta": meta})
    assert fields_of(staff) == ["password"]
    assert fields_of(User) == ["password", "is_active"]


def test_what_was_not_loaded_is_compared_as_unknown() -> None:
    unknown = Loaded(None, None)
    assert reason_for(unknown, Loaded("x", True)) == "password"
    assert reason_for(unknown, Loaded(None, False)) == "deactivated"
    assert reason_for(Loaded("x", True), Loaded("x", 0)) == "deactivated"  # type: ignore[arg-type]  # as forms do
    assert reason_for(unknown, unknown) is None
    assert reason_for(Loaded("x", False), Loaded("x", True)) is None
    assert reason_for(Loaded("x", False), Loaded("x", False)) is None
