"""The site of the page on the devices page lists sessions in its own base template."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.urls import path
from django.views.generic import TemplateView

from django_multisession.engine import close_drivers
from tests.docs.pages import Block, block_of, blocks_of
from tests.docs.test_shown_views import MIDDLEWARE

if TYPE_CHECKING:
    from pytest_django import Settings

PAGE = "docs/howto/devices-page.md"
URLS = "mysite/urls.py"
BASE = "<title>{% block title %}{% endblock %}</title>{% block head %}{% endblock %}My site: {% block content %}{% endblock %}"


def runs(block: Block) -> bool:
    return block.page == PAGE and block.file == URLS


@pytest.fixture
def browser(settings: Settings, django_user_model: Any, db: None) -> Client:
    """A user's browser at the site that the page shows."""
    close_drivers()  # users of other tests had the same ids
    shown = {
        block.file.removeprefix("templates/"): block.text
        for block in blocks_of(PAGE)
        if block.language == "html+django"
    }
    urls = types.ModuleType("urls_of_a_page")
    exec(block_of(PAGE, URLS).text, vars(urls))
    account = TemplateView.as_view(template_name="account.html")
    urls.urlpatterns.append(path("account/", account))
    settings.ROOT_URLCONF = urls
    settings.MIDDLEWARE = MIDDLEWARE
    settings.STATIC_URL = "/static/"
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    ("django.template.loaders.locmem.Loader", {"base.html": BASE, **shown}),
                    "django.template.loaders.app_directories.Loader",
                ],
                "context_processors": ["django.template.context_processors.request"],
            },
        }
    ]
    ada = django_user_model.objects.create_user("ada")
    browser = Client()
    for each in (Client(), browser):
        each.force_login(ada)
    return browser


@pytest.mark.parametrize("address", ["/account/sessions/", "/account/"])
def test_the_shown_site_lists_the_sessions_in_its_own_base(browser: Client, address: str) -> None:
    page = browser.get(address).content.decode()
    assert "My site: " in page
    assert page.count("<form") == 1


def test_the_shown_base_has_the_style_sheet_and_the_title(browser: Client) -> None:
    page = browser.get("/account/sessions/").content.decode()
    assert "/static/django_multisession/user_sessions.css" in page
    assert "<title>Your sessions</title>" in page
