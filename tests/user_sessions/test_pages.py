"""The pages of a user's sessions: what they show, end and refuse. How they look: tests/browser."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template import engines
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path
from django.utils import translation

from django_multisession.engine import close_drivers
from django_multisession.engines import memory
from django_multisession.templatetags.multisession import distance_in_words
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions import list_sessions
from tests.engine_fixtures import Engine, use_engine
from tests.rows import restoring
from tests.user_sessions.costs import counted

if TYPE_CHECKING:
    from pytest_django import Settings

    from tests.conftest import Clock, Running

pytestmark = pytest.mark.django_db(transaction=True)

OURS = "django_multisession.middleware.SessionMiddleware"
MIDDLEWARE = [
    OURS,
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
LIST = "/account/sessions/"
END_OTHERS = f"{LIST}end-others/"


def embedded(request: HttpRequest) -> HttpResponse:
    return render(request, "account.html")


urlpatterns = [
    path("account/sessions/", include("django_multisession.user_sessions.urls")),
    path("shop/sessions/", include("django_multisession.user_sessions.urls", namespace="shop")),
    path("embedded/", embedded),
]

EMBEDDED = """{% load multisession %}{% user_sessions as sessions %}
{% for session in sessions %}{{ session.id }} {{ session.is_current }};{% endfor %}"""
BASE = """<body>{% block title %}{% endblock %} of the site {% block content %}{% endblock %}"""


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    close_drivers()  # users of other tests had the same ids
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = MIDDLEWARE
    settings.STATIC_URL = "/static/"
    settings.SESSION_ENGINE = "django_multisession.engines.memory"
    use_templates(settings, {"account.html": EMBEDDED})


def use_templates(settings: Settings, templates: dict[str, str]) -> None:
    """Set the templates of the site, before those of its apps."""
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    ("django.template.loaders.locmem.Loader", templates),
                    "django.template.loaders.app_directories.Loader",
                ],
                "context_processors": ["django.template.context_processors.request"],
            },
        }
    ]


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", password="secret")


def logged_in(user: User, *, enforces_csrf: bool = False) -> Client:
    client = Client(enforce_csrf_checks=enforces_csrf)
    client.force_login(user)
    return client


def id_of(client: Client) -> str:
    """Return the id of the session that *client* has."""
    request = HttpRequest()
    request.session = client.session
    (found,) = [
        each
        for each in list_sessions(User(pk=client.session["_auth_user_id"]), request)
        if each.is_current
    ]
    return found.id


def is_logged_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def text_of(response: Any) -> str:
    """Return what *response* says, without tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def test_the_list_has_each_session_with_a_button_for_every_other(user: User) -> None:
    mine, other = logged_in(user), logged_in(user)
    logged_in(User.objects.create_user("eve"))
    response = mine.get(LIST)
    assert response.status_code == 200
    page = response.content.decode()
    assert page.count("Unknown device</") + page.count("Unknown device\n") == 2
    assert page.count("This device") == 1
    assert re.findall(r'action="([^"]*)"', page) == [f"{LIST}{id_of(other)}/end/"]
    # The current one is the first, though it was used before the other one.
    assert [each.is_current for each in response.context["sessions"]] == [True, False]
    assert str(mine.session.session_key) not in page


def test_one_session_is_ended_and_no_other(user: User) -> None:
    mine, other, third = logged_in(user), logged_in(user), logged_in(user)
    response = mine.post(f"{LIST}{id_of(other)}/end/", follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    assert "The session was ended." in text_of(response)
    assert [is_logged_in(each) for each in (mine, other, third)] == [True, False, True]


def test_all_others_are_ended_and_the_own_session_gets_a_new_key(user: User) -> None:
    mine, other, third = logged_in(user), logged_in(user), logged_in(user)
    key = mine.session.session_key
    assert "2 other sessions end." in text_of(mine.get(END_OTHERS))
    assert is_logged_in(other)
    response = mine.post(END_OTHERS, follow=True)
    assert "2 sessions were ended." in text_of(response)
    assert [is_logged_in(each) for each in (mine, other, third)] == [True, False, False]
    assert mine.session.session_key != key
    assert "You have no other session" in text_of(mine.get(END_OTHERS))
    assert "You have no other session." in text_of(mine.post(END_OTHERS, follow=True))


def test_an_end_is_asked_for_at_its_own_address_too(user: User) -> None:
    mine, other = logged_in(user), logged_in(user)
    page = text_of(mine.get(f"{LIST}{id_of(other)}/end/"))
    assert "End this session?" in page
    assert "Cancel" in page
    assert is_logged_in(other)


def test_to_end_the_current_session_is_to_log_out(user: User) -> None:
    mine, other = logged_in(user), logged_in(user)
    address = f"{LIST}{id_of(mine)}/end/"
    assert "Log out on this device?" in text_of(mine.get(address))
    response = mine.post(address)
    assert response.cookies["sessionid"]["max-age"] == 0
    assert not is_logged_in(mine)
    assert is_logged_in(other)


def test_an_id_in_another_spelling_names_no_session(user: User) -> None:
    mine = logged_in(user)
    for session_id in (id_of(mine).upper(), f"{id_of(mine)[:8]} {id_of(mine)[8:]}"):
        assert mine.post(f"{LIST}{session_id}/end/").status_code == 404
    assert is_logged_in(mine)


def test_an_end_asks_for_the_password_again_after_a_while(user: User, clock: Clock) -> None:
    mine, other = logged_in(user), logged_in(user)
    address = f"{LIST}{id_of(other)}/end/"
    clock.advance(timedelta(minutes=6))
    assert mine.get(LIST).status_code == 200
    for there in (address, END_OTHERS):
        asked = f"{LIST}reauthenticate/?next={there}"
        assert (mine.get(there)["Location"], mine.post(there)["Location"]) == (asked, asked)
    assert is_logged_in(other)
    # From the list, the way back is to the list: what was sent is gone.
    from_list = mine.post(address, headers={"Referer": f"http://testserver{LIST}"})
    assert from_list["Location"] == f"{LIST}reauthenticate/?next={LIST}"
    answer = mine.post(f"{LIST}reauthenticate/", {"password": "secret", "next": address})
    assert answer["Location"] == address
    assert mine.post(address).status_code == 302
    assert not is_logged_in(other)


@pytest.mark.parametrize("verb", ["get", "post"])
def test_a_session_of_another_user_is_not_found(user: User, verb: str) -> None:
    mine, strangers = logged_in(user), logged_in(User.objects.create_user("eve"))
    for session_id in (id_of(strangers), "0" * 32, "no-id", "\N{SNOWMAN}"):
        response = getattr(mine, verb)(f"{LIST}{session_id}/end/")
        assert response.status_code == 404
    assert is_logged_in(strangers)


@pytest.mark.parametrize("place", ["", "end-others/", f"{'0' * 32}/end/"])
def test_a_visitor_is_asked_to_log_in_and_no_cache_keeps_a_page(user: User, place: str) -> None:
    for verb in ("get", "post"):
        response = getattr(Client(), verb)(f"{LIST}{place}")
        assert (response.status_code, response["Location"]) == (
            302,
            f"/accounts/login/?next={LIST}{place}",
        )
    for client in (Client(), logged_in(user)):
        assert "no-store" in client.get(f"{LIST}{place}").get("Cache-Control", "no-store")
    assert "no-store" in logged_in(user).get(LIST)["Cache-Control"]


def test_nothing_ends_by_a_get_or_without_a_csrf_token(user: User) -> None:
    mine, other = logged_in(user, enforces_csrf=True), logged_in(user)
    for address in (f"{LIST}{id_of(other)}/end/", END_OTHERS):
        assert mine.get(address).status_code == 200
        assert mine.post(address).status_code == 403
    assert is_logged_in(other)


def test_a_site_without_the_csrf_middleware_is_protected_too(
    user: User, settings: Settings
) -> None:
    settings.MIDDLEWARE = [each for each in MIDDLEWARE if "csrf" not in each]
    mine, other = logged_in(user, enforces_csrf=True), logged_in(user)
    assert mine.post(END_OTHERS).status_code == 403
    assert is_logged_in(other)


def test_the_pages_work_without_messages(user: User, settings: Settings) -> None:
    settings.MIDDLEWARE = [each for each in MIDDLEWARE if "messages" not in each]
    mine, other = logged_in(user), logged_in(user)
    assert mine.post(f"{LIST}{id_of(other)}/end/", follow=True).status_code == 200
    assert not is_logged_in(other)


def test_fifty_sessions_are_on_a_page_and_the_others_on_the_next(user: User) -> None:
    mine = logged_in(user)
    for _ in range(50):
        logged_in(user)
    page = mine.get(LIST).content.decode()
    assert (page.count("<form"), "Page 1 of 2" in page) == (49, True)
    assert mine.get(f"{LIST}?page=2").content.decode().count("<form") == 1
    assert mine.get(f"{LIST}?page=3").status_code == 404
    # With so many the way to end them isn't below them all.
    assert page.index(END_OTHERS) < page.index("<form")
    assert page.count(END_OTHERS) == 1


def test_an_end_lists_the_sessions_once(user: User) -> None:
    mine, other = logged_in(user), logged_in(user)
    address = f"{LIST}{id_of(other)}/end/"
    with counted(memory.SessionStore.get_driver()) as count:
        assert mine.post(address).status_code == 302
    # The request's own session, the list, and the end.
    assert count.commands == 3
    assert not is_logged_in(other)


def test_a_site_has_its_own_base_and_its_own_namespace(user: User, settings: Settings) -> None:
    use_templates(settings, {"django_multisession/base.html": BASE})
    mine, other = logged_in(user), logged_in(user)
    page = mine.get("/shop/sessions/").content.decode()
    assert "Your sessions of the site" in page
    assert f"/shop/sessions/{id_of(other)}/end/" in page
    assert mine.post("/shop/sessions/end-others/")["Location"] == "/shop/sessions/"


def test_a_template_of_the_site_lists_the_sessions_by_the_tag(user: User) -> None:
    mine, other = logged_in(user), logged_in(user)
    assert mine.get("/embedded/").content.decode().split() == [
        *(id_of(mine), "True;" + id_of(other)),
        "False;",
    ]
    assert Client().get("/embedded/").content.decode().strip() == ""


def test_the_list_can_be_a_part_of_a_page_of_the_site(user: User, settings: Settings) -> None:
    part = '{% load multisession %}{% user_sessions as sessions %}{% include "django_multisession/sessions.html" %}'
    use_templates(settings, {"account.html": part})
    mine, other = logged_in(user, enforces_csrf=True), logged_in(user)
    page = mine.get("/embedded/").content.decode()
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    mine.post(f"{LIST}{id_of(other)}/end/", {"csrfmiddlewaretoken": token})
    assert not is_logged_in(other)


def test_an_engine_that_finds_no_sessions_is_named(user: User, settings: Settings) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    with pytest.raises(ImproperlyConfigured, match="signed_cookies"):
        logged_in(user).get(LIST)


def test_an_outage_is_a_503_and_logs_no_one_out(
    user: User, settings: Settings, running_servers: Running
) -> None:
    use_engine("redis-8.2", settings, running_servers)
    mine = logged_in(user)
    there = settings.MULTISESSION_REDIS
    settings.MULTISESSION_REDIS = {"URL": "redis://127.0.0.1:1/0"}
    response = mine.get(LIST)
    assert (response.status_code, "sessionid" in response.cookies) == (503, False)
    settings.MULTISESSION_REDIS = there
    assert mine.get(LIST).status_code == 200


def test_the_pages_work_under_asgi(user: User) -> None:
    mine, other = logged_in(user), logged_in(user)
    client = AsyncClient()
    client.cookies = mine.cookies

    async def visit() -> list[int]:
        return [
            (await client.get(LIST)).status_code,
            (await client.post(f"{LIST}{id_of_other}/end/")).status_code,
        ]

    id_of_other = id_of(other)
    assert asyncio.run(visit()) == [200, 302]
    assert [is_logged_in(mine), is_logged_in(other)] == [True, False]


def test_one_is_ended_and_then_the_others_on_every_engine(user: User, engine: Engine) -> None:
    clients = [logged_in(user) for _ in range(4)]
    mine, other = clients[:2]
    assert mine.get(LIST).content.decode().count("<form") == 3
    assert mine.post(f"{LIST}{id_of(other)}/end/").status_code == 302
    assert [is_logged_in(each) for each in clients] == [True, False, True, True]
    mine.post(END_OTHERS)
    assert [is_logged_in(each) for each in clients] == [True, False, False, False]


def test_the_pages_speak_the_visitors_language(user: User) -> None:
    mine, other = logged_in(user), logged_in(user)
    page = mine.get(LIST, headers={"Accept-Language": "de"}).content.decode()
    assert '<html lang="de">' in page
    assert "Ihre Sitzungen" in page
    response = mine.post(
        f"{LIST}{id_of(other)}/end/", follow=True, headers={"Accept-Language": "de"}
    )
    assert "Die Sitzung wurde beendet." in text_of(response)


NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@for_each(
    ("distance", "english", "german"),
    [
        (timedelta(seconds=-59), "just now", "gerade eben"),
        (timedelta(), "just now", "gerade eben"),
        (timedelta(seconds=59), "in less than a minute", "in weniger als einer Minute"),
        (timedelta(minutes=-1), "1 minute ago", "vor 1 Minute"),
        (timedelta(minutes=-59.9), "59 minutes ago", "vor 59 Minuten"),
        (timedelta(hours=-1), "1 hour ago", "vor 1 Stunde"),
        (timedelta(hours=47), "in 1 day", "in 1 Tag"),
        (timedelta(days=-2), "2 days ago", "vor 2 Tagen"),
        (timedelta(days=59), "in 59 days", "in 59 Tagen"),
        (timedelta(days=400), "in 13 months", "in 13 Monaten"),
    ],
)
def test_times_are_said_as_people_say_them(distance: timedelta, english: str, german: str) -> None:
    for language, expected in (("en", english), ("de", german)):
        with translation.override(language):
            assert distance_in_words(NOW + distance, NOW) == expected


@for_each("uses_zones", [True, False])
@restoring
def test_dates_are_those_of_the_sites_time_zone(settings: Settings, uses_zones: bool) -> None:
    settings.TIME_ZONE, settings.USE_TZ = "Europe/Berlin", uses_zones
    source = "{% load multisession %}{% absolute_time at %}"
    with translation.override("de"):
        assert engines["django"].from_string(source).render(
            {"at": NOW}, RequestFactory().get("/")
        ) == ('<time datetime="2026-11-29T12:00:00+00:00">29. November 2026 13:00</time>')
