"""The admin site of the page on the admin lists sessions."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from django.test import Client
from django.urls import path

from django_multisession.engine import close_drivers
from tests.docs.pages import Block, block_of
from tests.docs.test_shown_views import MIDDLEWARE
from tests.started_project import TEMPLATES

if TYPE_CHECKING:
    from pytest_django import Settings

PAGE = "docs/howto/admin.md"
ADMIN = "people/admin.py"


def runs(block: Block) -> bool:
    return block.page == PAGE and block.file == ADMIN


def test_the_shown_admin_site_lists_sessions(
    settings: Settings, django_user_model: Any, db: None
) -> None:
    close_drivers()  # users of other tests had the same ids
    shown: dict[str, Any] = {"__name__": "people.admin"}
    exec(block_of(PAGE, ADMIN).text, shown)
    urls: Any = types.ModuleType("urls_of_a_page")
    urls.urlpatterns = [path("admin/", shown["site"].urls)]
    settings.ROOT_URLCONF = urls
    settings.MIDDLEWARE = MIDDLEWARE
    settings.STATIC_URL = "/static/"
    settings.TEMPLATES = TEMPLATES
    browser = Client()
    browser.force_login(django_user_model.objects.create_superuser("root"))
    response = browser.get("/admin/django_multisession_session_admin/session/")
    assert [row.user_name for row in response.context["rows"]] == ["root"]
