"""The mail that is shown is sent at a login with a new device, and the address shown is the client's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail
from django.http import HttpRequest
from django.test import Client

from django_multisession import signals
from django_multisession.core.devices import shown_address
from django_multisession.testing.rows import for_each
from tests.docs.pages import Block, block_of
from tests.docs.test_shown_settings import execute
from tests.unit.test_devices import CHROME, FIREFOX

if TYPE_CHECKING:
    from pytest_django import Settings

PAGE = "docs/howto/show-devices.md"
PROXIES = "docs/howto/run-behind-a-proxy.md"
ADDRESSES = "shop/addresses.py"


def runs(block: Block) -> bool:
    if block.file == "settings.py":
        return False
    return (block.page == PAGE and block.language == "python") or block.file == ADDRESSES


def shown(page: str, file: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "shown"}
    exec(block_of(page, file).text, names)
    return names


@pytest.fixture
def receivers() -> Iterator[None]:
    before = list(signals.new_device.receivers)
    yield
    signals.new_device.receivers = before
    signals.new_device.sender_receivers_cache.clear()


def test_the_mail_shown_names_device_and_network(
    receivers: None, settings: Settings, django_user_model: Any, db: None
) -> None:
    for name, value in execute(block_of(PAGE, "settings.py"), {}).items():
        setattr(settings, name, value)
    settings.ROOT_URLCONF = "tests.clients.urls"
    settings.MIDDLEWARE = [
        "django_multisession.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    names = shown(PAGE, "shop/mails.py")
    assert callable(names["mail_about_new_device"])
    ada = django_user_model.objects.create_superuser("ada", "ada@shop.example", "secret")
    for agent, address in (
        (FIREFOX, "192.0.2.77"),
        (FIREFOX, "192.0.2.78"),
        (CHROME, "2001:db8::1"),
    ):
        browser = Client(headers={"user-agent": agent}, REMOTE_ADDR=address)
        reply = browser.post(
            "/admin/login/", {"username": "ada", "password": "secret", "next": "/"}
        )
        assert reply.status_code == 302
    (message,) = mail.outbox
    assert message.to == [ada.email]
    assert message.body.splitlines()[:2] == [
        "Device: Chrome on Windows",
        "Network: 2001:db8::/48",
    ]


def test_the_app_shown_reads_the_receivers() -> None:
    assert "from shop import mails" in block_of(PAGE, "shop/apps.py").text


@for_each(
    ("header", "address"),
    [
        ("192.0.2.77", "192.0.2.77"),
        ("203.0.113.9, 192.0.2.77", "192.0.2.77"),
        ("203.0.113.9,2001:db8::1", "2001:db8::1"),
        ("<script>", ""),
        (None, ""),
    ],
)
def test_the_function_shown_takes_what_the_proxy_appended(header: str | None, address: str) -> None:
    request = HttpRequest()
    if header is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = header
    found = shown(PROXIES, ADDRESSES)["client_address"](request)
    assert shown_address(found, is_truncated=False) == address
