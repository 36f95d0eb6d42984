"""``manage.py serve``: one engine's site, on a socket that ``manage.py demo`` opened."""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Serves until standard input ends, so that no site outlives the demo that started it."""

    help = "Serve this site on a listening socket (started by the demo command)."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See BaseCommand.add_arguments()."""
        parser.add_argument("interface", choices=["wsgi", "asgi"])
        parser.add_argument("descriptor", type=int, help="File descriptor of the socket.")

    def handle(self, *, interface: str, descriptor: int, **_options: Any) -> None:
        """See BaseCommand.handle()."""
        listener = socket.socket(fileno=descriptor)
        if interface == "asgi":
            _serve_asgi(listener)
        else:
            _serve_wsgi(listener)


def _serve_wsgi(listener: socket.socket) -> None:
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

    from shop.wsgi import application

    host, port = listener.getsockname()
    server = ThreadedWSGIServer((host, port), WSGIRequestHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = host, port
    server.setup_environ()
    server.set_app(application)
    _at_end_of_input(server.shutdown)
    server.serve_forever()


def _serve_asgi(listener: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            "shop.asgi:application",
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )

    def stop() -> None:
        server.should_exit = True

    _at_end_of_input(stop)
    server.run(sockets=[listener])


def _at_end_of_input(stop: Callable[[], None]) -> None:
    def wait() -> None:
        sys.stdin.buffer.read()
        stop()

    threading.Thread(target=wait, daemon=True).start()
