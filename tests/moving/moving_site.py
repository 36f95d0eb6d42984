"""A site as a process: it serves a listening socket that it was handed, until SIGTERM.

``python -m tests.moving.moving_site FD SETTINGS`` takes the settings as JSON. The requests that are
under way when the signal comes are answered; those that weren't accepted yet wait for the next process.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

BACKEND = f"{__name__}.Backend"
MODULE = "tests.moving.moving_site"


class Backend:
    """Everyone whom a number names is a user."""

    def get_user(self, user_id: Any) -> Any:
        return get_user_model()(pk=int(user_id), username=f"user{user_id}", password="x")


def begin(request: HttpRequest, number: int) -> HttpResponse:
    login(request, Backend().get_user(number), f"{MODULE}.Backend")
    request.session["count"] = 0
    return answer(request)


def count(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        request.session["count"] += 1
    return answer(request)


def look(request: HttpRequest) -> HttpResponse:
    return answer(request)


def leave(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return answer(request)


def answer(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {"user": request.user.get_username(), "count": request.session.get("count")}
    )


urlpatterns = [
    path("begin/<int:number>/", begin),
    path("count/", count),
    path("look/", look),
    path("leave/", leave),
]


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name)
        pass


class _Server(WSGIServer):
    """A thread for each request; closing waits for all of them."""

    daemon_threads = False

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()
        self.setup_environ()
        self.threads: list[threading.Thread] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve, args=(request, client_address))
        self.threads = [each for each in self.threads if each.is_alive()]
        self.threads.append(thread)
        thread.start()

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)


def main(descriptor: str, given: str) -> None:
    settings.configure(**json.loads(given), ROOT_URLCONF=MODULE)
    django.setup()
    from django.contrib.auth.models import update_last_login
    from django.contrib.auth.signals import user_logged_in
    from django.core.wsgi import get_wsgi_application

    # Its receiver writes to a table, and these users are in none.
    user_logged_in.disconnect(update_last_login, dispatch_uid="update_last_login")
    server = _Server(socket.socket(fileno=int(descriptor)))
    server.set_app(get_wsgi_application())

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=0.05)
    for thread in server.threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
