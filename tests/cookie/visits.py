"""Requests of browsers, each with the cookies that its own responses set."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from django_multisession.middleware import SessionMiddleware

NAME = "sessionid"
Page = Callable[[HttpRequest], object]


class Browser:
    def __init__(self, cookie: str | None = None) -> None:
        self.cookie = cookie
        self.response = HttpResponse()

    def visit(self, page: Page, *, status: int = 200) -> object:
        """Return what *page* returned, having taken over the cookie of the response."""
        found: list[object] = []

        def view(request: HttpRequest) -> HttpResponse:
            found.append(page(request))
            return HttpResponse("", status=status)

        request = RequestFactory().get("/")
        if self.cookie is not None:
            request.COOKIES[NAME] = self.cookie
        self.response = SessionMiddleware(view)(request)
        self.take()
        return found[0] if found else None

    def take(self) -> None:
        """Take over the cookie of the last response."""
        morsel = self.response.cookies.get(NAME)
        if morsel is not None:
            self.cookie = morsel.value or None

    def entries(self) -> object:
        return self.visit(lambda request: dict(request.session.items()))
