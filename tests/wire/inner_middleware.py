"""Middleware below the session's, each with one use of the session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from tests.djangos import MiddlewareMixin


class ReadsBefore(MiddlewareMixin):
    def process_request(self, request: HttpRequest) -> None:
        request.session.get("name")


class ReadsAfter(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        request.session.get("name")
        return response


class ChangesAfter(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        request.session["name"] = "changed after"
        return response


class SavesAfter(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        request.session["name"] = "saved after"
        request.session.save()
        return response


class EndsAfter(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        request.session.flush()
        return response


class BreaksAfter(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        raise ZeroDivisionError


@sync_and_async_middleware
def reads_natively(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    if iscoroutinefunction(get_response):

        async def anext_one(request: HttpRequest) -> Any:
            await request.session.aget("name")
            answer: Awaitable[Any] = get_response(request)
            return await answer

        return anext_one

    def next_one(request: HttpRequest) -> Any:
        request.session.get("name")
        return get_response(request)

    return next_one
