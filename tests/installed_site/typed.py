"""What mypy must know of the installed package."""

from __future__ import annotations

from typing import assert_type

from django.http import HttpResponse
from django.urls import path

from django_multisession.core.records import Answer, Record, Tombstone
from django_multisession.decorators import session_not_extended
from django_multisession.drivers.base import Driver, Steps, arun, run
from django_multisession.drivers.memory import MemoryDriver
from django_multisession.engines.memory import SessionStore
from django_multisession.http import HttpRequest
from django_multisession.session.respond import Deadlines


def renew(driver: Driver, record: Record, base: Record) -> Answer:
    return run(driver.replace("key", record, base, 1_800_000_000_000))


def end(driver: MemoryDriver, left: Tombstone) -> None:
    assert_type(driver.delete("key", left), Steps[bool | Tombstone])


async def find(driver: Driver) -> None:
    assert_type(await arun(driver.get("key")), Record | Tombstone | None)


assert_type(SessionStore.get_driver(), Driver)


@session_not_extended
def poll(request: HttpRequest) -> HttpResponse:
    assert_type(request.session.deadlines(), Deadlines)
    return HttpResponse(request.session.get("unread"))


@session_not_extended
async def apoll(request: HttpRequest) -> HttpResponse:
    assert_type(await request.session.adeadlines(), Deadlines)
    return HttpResponse(await request.session.aget("unread"))


urlpatterns = [path("poll/", poll), path("apoll/", apoll)]
