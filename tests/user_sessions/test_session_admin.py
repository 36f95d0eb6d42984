"""The sessions of all users in Django's admin: what it shows, ends, and refuses."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import HttpRequest
from django.test import Client
from django.urls import path

from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engine import close_drivers
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session_admin.selection import Selection, State
from django_multisession.user_sessions import everyone
from tests.engine_fixtures import Engine, use_engine
from tests.started_project import TEMPLATES
from tests.user_sessions.test_pages import id_of, is_logged_in, logged_in, text_of

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Running

pytestmark = pytest.mark.django_db(transaction=True)

APP = "django_multisession_session_admin"
LIST = f"/admin/{APP}/session/"
END = f"{LIST}end/"

#: An admin site that registers users and no sessions.
staff_site = admin.AdminSite("staff")
staff_site.register(User, UserAdmin)

urlpatterns = [path("admin/", admin.site.urls), path("staff/", staff_site.urls)]


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    close_drivers()  # users of other tests had the same ids
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        "django_multisession.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    settings.STATIC_URL = "/static/"
    settings.TEMPLATES = TEMPLATES
    settings.SESSION_ENGINE = "django_multisession.engines.memory"


@pytest.fixture
def root() -> Client:
    """A superuser's browser."""
    return logged_in(User.objects.create_superuser("root"))


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


def staff(*codenames: str) -> Client:
    """Return the browser of somebody in the admin with these permissions only."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return logged_in(user)


def rows_of(response: Any) -> list[tuple[str, str]]:
    """Return user and session id of each row of a list."""
    return [(row.user_name, row.session.id) for row in response.context["rows"]]


def chosen(client: Client) -> str:
    """Return what a form sends for the session of *client*."""
    return id_of(client) + str(client.session["_auth_user_id"])


def test_the_sessions_of_all_users_are_listed_and_no_key_is_shown(root: Client, ada: User) -> None:
    other = logged_in(ada)
    Client().get("/admin/login/")
    response = root.get(LIST)
    assert sorted(rows_of(response)) == sorted([("root", id_of(root)), ("ada", id_of(other))])
    page = response.content.decode()
    for key in (root.session.session_key, other.session.session_key):
        assert str(key) not in page
    # Nobody ends the session of the page by accident.
    assert page.count('type="checkbox" name="id"') == 1
    assert "no-store" in response["Cache-Control"]


def test_the_sessions_of_a_user_are_found_by_name_and_by_id(root: Client, ada: User) -> None:
    ids = {id_of(logged_in(ada)) for _ in range(2)}
    for user in ("ada", f" {ada.pk} "):
        response = root.get(LIST, {"user": user})
        assert {session_id for _, session_id in rows_of(response)} == ids
        assert "End all sessions of ada" in text_of(response)
    assert rows_of(root.get(LIST, {"user": "eve"})) == []
    assert "There is no such session." in text_of(root.get(LIST, {"user": "eve"}))


def test_a_user_whom_the_default_manager_hides_is_named(
    root: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_in(ada)
    others = User._default_manager.exclude(pk=ada.pk)
    monkeypatch.setattr(User._default_manager, "get_queryset", others.all)
    ((name, _),) = rows_of(root.get(LIST, {"user": str(ada.pk)}))
    assert name == "ada"


def test_the_sessions_of_a_user_who_is_gone_can_be_ended(
    root: Client, ada: User, settings: Settings
) -> None:
    settings.MULTISESSION_END_SESSIONS_ON = []
    logged_in(ada)
    user_id = ada.pk
    ada.delete()
    ((name, session_id),) = rows_of(root.get(LIST, {"user": str(user_id)}))
    assert name == f"user {user_id}, who is gone"
    root.post(END, {"id": f"{session_id}{user_id}", "confirmed": "yes"})
    assert rows_of(root.get(LIST, {"user": str(user_id)})) == []


def test_a_name_that_is_the_id_of_another_user_hides_no_session(root: Client, ada: User) -> None:
    mine, other = logged_in(ada), logged_in(User.objects.create_user(str(ada.pk)))
    response = root.get(LIST, {"user": ada.pk})
    assert {each for _, each in rows_of(response)} == {id_of(mine), id_of(other)}
    page = text_of(response)
    assert "End all sessions of ada" in page
    assert f"End all sessions of {ada.pk}" in page
    assert rows_of(root.get(LIST, {"user_id": ada.pk})) == [("ada", id_of(mine))]
    response = root.post(END, {"all_of": ada.pk, "confirmed": "yes"}, follow=True)
    assert rows_of(response) == []
    assert [is_logged_in(mine), is_logged_in(other)] == [False, True]


def test_sessions_are_filtered_by_state(root: Client, ada: User, settings: Settings) -> None:
    remembered = logged_in(ada)
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    short = logged_in(ada)
    session = remembered.session
    session.set_expiry(3600)
    session.save()

    def found(state: str, user: str = "ada") -> list[str]:
        return [each for _, each in rows_of(root.get(LIST, {"user": user, "state": state}))]

    assert found("remembered") == [id_of(remembered)]
    assert found("short") == [id_of(short)]
    assert found("current", "") == [id_of(root)]
    assert len(found("none such")) == 2


def test_many_sessions_are_on_several_pages_each_in_one_of_them(root: Client, ada: User) -> None:
    for _ in range(120):
        logged_in(ada)
    for asked in ({}, {"user": "ada"}, {"user_id": ada.pk}):
        found: set[str] = set()
        address = LIST
        response = root.get(address, asked)
        for _ in range(3):
            found |= {session_id for user, session_id in rows_of(response) if user == "ada"}
            following = response.context["following"]
            if following is None:
                break
            response = root.get(f"{LIST}{following.address}")
        assert following is None
        assert len(found) == 120


def test_one_session_is_ended_after_a_question_and_the_users_history_says_so(
    root: Client, ada: User
) -> None:
    mine, other = logged_in(ada), logged_in(ada)
    address = re.findall(rf'href="({END}\?id={id_of(mine)}[^"]*)"', root.get(LIST).content.decode())
    assert "Are you sure?" in text_of(root.get(address[0]))
    assert is_logged_in(mine)
    response = root.post(END, {"id": chosen(mine), "confirmed": "yes"}, follow=True)
    assert "1 session was ended." in text_of(response)
    assert [is_logged_in(mine), is_logged_in(other), is_logged_in(root)] == [False, True, True]
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.get_change_message()) == (str(ada.pk), "Ended 1 session.")
    assert "Ended 1 session." in text_of(root.get(f"/admin/auth/user/{ada.pk}/history/"))


def test_selected_sessions_are_ended_and_never_the_own_one(root: Client, ada: User) -> None:
    clients = [logged_in(ada) for _ in range(3)]
    selected = [chosen(each) for each in (*clients[:2], root)]
    assert "Are you sure?" in text_of(root.post(END, {"id": selected}))
    root.post(END, {"id": selected, "confirmed": "yes"})
    assert [is_logged_in(each) for each in (*clients, root)] == [False, False, True, True]
    response = root.post(END, {"id": chosen(root), "confirmed": "yes"}, follow=True)
    assert "No session was chosen" in text_of(response)
    assert is_logged_in(root)


def test_all_sessions_of_a_user_are_ended_and_of_the_own_ones_all_others(
    root: Client, ada: User
) -> None:
    clients = [logged_in(ada) for _ in range(3)]
    assert text_of(root.get(END, {"all_of": ada.pk})).count("ada, Unknown device") == 3
    root.post(END, {"all_of": ada.pk, "confirmed": "yes"})
    assert not any(map(is_logged_in, clients))
    again = logged_in(User.objects.get(username="root"))
    root.post(END, {"all_of": root.session["_auth_user_id"], "confirmed": "yes"})
    assert [is_logged_in(root), is_logged_in(again)] == [True, False]


def acting_as_ada(get_response: Any) -> Any:
    """Impersonate as a site does that leaves the session alone."""

    def respond(request: HttpRequest) -> Any:
        request.user = User.objects.get(username="ada")
        return get_response(request)

    return respond


def test_an_admin_who_acts_as_a_user_ends_the_sessions_of_that_user(
    root: Client, ada: User, settings: Settings
) -> None:
    User.objects.filter(pk=ada.pk).update(is_staff=True, is_superuser=True)
    mine, other = logged_in(User.objects.get(username="root")), logged_in(ada)
    current = id_of(root)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.acting_as_ada"]
    assert rows_of(root.get(LIST, {"state": "current"})) == [("root", current)]
    root.post(END, {"all_of": ada.pk, "confirmed": "yes"})
    assert [is_logged_in(each) for each in (root, mine, other)] == [True, True, False]
    root.post(END, {"all_of": root.session["_auth_user_id"], "confirmed": "yes"})
    assert [is_logged_in(each) for each in (root, mine)] == [True, False]


@pytest.mark.parametrize(
    ("codenames", "may_see", "may_end"),
    [
        ((), False, False),
        (("view_session",), True, False),
        (("end_session",), False, False),
        (("view_session", "end_session"), True, True),
        (("delete_user", "change_user", "view_user"), False, False),
    ],
)
def test_to_see_and_to_end_are_permissions_of_their_own(
    ada: User, codenames: tuple[str, ...], *, may_see: bool, may_end: bool
) -> None:
    other, browser = logged_in(ada), staff(*codenames)
    response = browser.get(LIST)
    assert response.status_code == (200 if may_see else 403)
    assert ("End session" in response.content.decode()) is may_end
    assert (LIST in browser.get("/admin/").content.decode()) is may_see
    assert browser.get(END, {"all_of": ada.pk}).status_code == (200 if may_end else 403)
    ended = browser.post(END, {"id": chosen(other), "confirmed": "yes"})
    assert ended.status_code == (302 if may_end else 403)
    assert is_logged_in(other) is not may_end


def test_a_link_to_users_is_shown_to_those_who_may_see_them(ada: User) -> None:
    logged_in(ada)
    assert (
        f"/admin/auth/user/{ada.pk}/change/" not in staff("view_session").get(LIST).content.decode()
    )


def test_the_page_of_a_user_leads_to_the_users_sessions(root: Client, ada: User) -> None:
    page = root.get(f"/admin/auth/user/{ada.pk}/change/").content.decode()
    assert f'href="{LIST}?user_id={ada.pk}"' in page
    logged_in(ada)
    assert f"/admin/auth/user/{ada.pk}/change/" in root.get(LIST).content.decode()


def test_the_page_of_a_user_has_no_link_in_a_site_without_sessions(root: Client, ada: User) -> None:
    response = root.get(f"/staff/auth/user/{ada.pk}/change/")
    assert response.status_code == 200
    assert APP not in response.content.decode()


def test_a_visitor_and_a_user_without_the_admin_are_sent_to_its_login(ada: User) -> None:
    for client in (Client(), logged_in(ada)):
        for address in (LIST, END):
            assert client.post(address, {"all_of": ada.pk, "confirmed": "yes"}).status_code == 302


def test_nothing_ends_by_a_get_or_without_a_csrf_token(ada: User) -> None:
    root = logged_in(User.objects.create_superuser("root"), enforces_csrf=True)
    other = logged_in(ada)
    assert root.get(END, {"id": chosen(other), "confirmed": "yes"}).status_code == 200
    assert root.post(END, {"id": chosen(other), "confirmed": "yes"}).status_code == 403
    assert is_logged_in(other)


def test_a_forged_id_ends_nothing(root: Client, ada: User) -> None:
    other = logged_in(ada)
    forged = (
        "",
        "x",
        id_of(other),
        f"{id_of(other)}{ada.pk + 1}",
        f"{'0' * 32}{ada.pk}",
        "\N{SNOWMAN}" * 40,
    )
    root.post(END, {"id": forged, "confirmed": "yes"})
    assert is_logged_in(other)


def test_a_forged_page_is_the_first_one(root: Client) -> None:
    for forged in ({"from": "x"}, {"p": "x"}, {"p": "-1"}, {"p": "9" * 30}, {"p": "²"}):
        assert rows_of(root.get(LIST, forged)) == rows_of(root.get(LIST))
    selection = Selection("a b&c", State.REMEMBERED, "cursor", 2)
    assert Selection.read({"from": "x:y:z"}).cursor == ""
    assert selection.address.startswith("?user=a+b%26c&state=remembered&from=")


def test_the_admin_speaks_german(root: Client, ada: User) -> None:
    logged_in(ada)
    page = text_of(root.get(LIST, headers={"Accept-Language": "de"}))
    assert "Zu beendende Sitzungen auswählen" in page
    assert "Unbekanntes Gerät" in page


def test_an_outage_is_a_503(root: Client, settings: Settings, running_servers: Running) -> None:
    use_engine("redis-8.2", settings, running_servers)
    root = logged_in(User.objects.get(username="root"))
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1/0"}
    assert root.get(LIST).status_code == 503


@pytest.mark.parametrize(
    ("is_all", "notes"),
    [(False, ["Ended 1 session."]), (True, ["An outage interrupted the end of all sessions."])],
)
def test_the_history_has_the_ends_before_an_outage(
    root: Client, ada: User, monkeypatch: pytest.MonkeyPatch, notes: list[str], *, is_all: bool
) -> None:
    clients = [logged_in(ada) for _ in range(2)]
    ids = [chosen(each) for each in clients]
    delete_many, calls = MemoryDriver.delete_many, itertools.count()

    def delete_once(*arguments: Any, **more: Any) -> Any:
        if next(calls) >= (not is_all):
            raise StoreUnavailable("It is down.")
        return (yield from delete_many(*arguments, **more))

    monkeypatch.setattr(MemoryDriver, "delete_many", delete_once)
    asked = {"all_of": ada.pk} if is_all else {"id": ids}
    assert root.post(END, {**asked, "confirmed": "yes"}).status_code == 503
    assert [entry.change_message for entry in LogEntry.objects.all()] == notes
    assert [is_logged_in(each) for each in clients].count(False) == (not is_all)


def test_an_engine_that_lists_no_sessions_is_named(root: Client, settings: Settings) -> None:
    settings.SESSION_ENGINE = "django_multisession.engines.cookie"
    with pytest.raises(ImproperlyConfigured, match="cookie can't list all sessions"):
        logged_in(User.objects.get(username="root")).get(LIST)


def test_sessions_of_all_users_are_seen_and_ended_on_every_engine(
    root: Client, ada: User, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server holds what other tests left, too.
    monkeypatch.setattr(everyone, "MOST_READ", 1_000_000)
    root = logged_in(User.objects.get(username="root"))
    clients = [logged_in(ada) for _ in range(3)]
    assert {user for user, _ in rows_of(root.get(LIST))} == {"root", "ada"}
    root.post(END, {"id": [chosen(each) for each in clients[:2]], "confirmed": "yes"})
    assert [is_logged_in(each) for each in clients] == [False, False, True]
    assert len(rows_of(root.get(LIST))) == 2


def test_there_is_no_table_and_no_migration_is_missing() -> None:
    call_command("makemigrations", APP, check=True, dry_run=True, verbosity=0)
    assert list(apps.get_model(APP, "Session")._default_manager.all()) == []
    call_command("dumpdata", APP, verbosity=0)
