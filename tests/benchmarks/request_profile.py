"""Prints where the processor time of one request goes, as bytecodes executed in each part.

``python -m tests.benchmarks.request_profile``, in the repository: it starts a Redis, and plays each
request on Django's ``cache`` engine with django-redis and on the ``redis`` engine. Bytecodes are the
same on a busy machine. What C code does (sockets, HMAC, JSON, hiredis) isn't among them.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import django
from django.conf import settings

PACKAGE = "django_multisession"
#: What a file's path holds, and what the table calls it.
PARTS = {
    f"{PACKAGE}/middleware.py": "middleware",
    f"{PACKAGE}/session/": "session",
    f"{PACKAGE}/core/": "core",
    f"{PACKAGE}/drivers/": "driver",
    PACKAGE: "settings",
    "/django/": "Django",
}
PYTHON = "Python"
KINDS = ("untouched", "read", "change", "new", "login", "logout")
ENGINES = {
    "stock": ("django.contrib.sessions.backends.cache", "django.contrib.sessions.middleware"),
    "ours": ("django_multisession.engines.redis", "django_multisession.middleware"),
}
WARM_UP = 20


def part_of(path: str) -> str:
    return next((name for fragment, name in PARTS.items() if fragment in path), PYTHON)


def counted(act: Callable[[], Any]) -> Counter[str]:
    """Return how many bytecodes *act* executes in each part."""
    counts: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
        elif event == "opcode":
            counts[part_of(frame.f_code.co_filename)] += 1
        return trace

    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(None)
    return counts


def profile(kind: str, engine: str) -> Counter[str]:
    """Return what a request of *kind* executes beyond one without a session."""
    from importlib import import_module

    from django.http import HttpResponse
    from django.test import RequestFactory, override_settings

    from tests import test_request_costs

    name, middleware = ENGINES[engine]
    factory = RequestFactory()
    view = getattr(test_request_costs, kind)
    with override_settings(SESSION_ENGINE=name):
        site = import_module(middleware).SessionMiddleware(view)
        store = import_module(name).SessionStore

        def visit(act: Callable[[Any], Any]) -> Counter[str]:
            request = factory.get("/")
            if kind not in {"new", "untouched"}:
                session = store()
                session.update(test_request_costs.ENTRIES)
                session.save()
                request.COOKIES[settings.SESSION_COOKIE_NAME] = session.session_key
            return counted(lambda: act(request))

        for _ in range(WARM_UP):
            visit(site)
        bare = visit(lambda _request: HttpResponse("ok"))
        return Counter({part: count for part, count in (visit(site) - bare).items() if count})


def main() -> None:
    sys.path.append(str(Path(__file__).parents[2] / "testproject"))
    import server_binaries
    from servers import RedisServer

    with tempfile.TemporaryDirectory() as directory:
        binaries = server_binaries.redis_binaries(Path(directory))
        with RedisServer(next(iter(binaries.values())), Path(directory) / "redis") as server:
            settings.configure(
                SECRET_KEY="x" * 50,
                USE_TZ=True,
                INSTALLED_APPS=["django.contrib.sessions", PACKAGE],
                CACHES={
                    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
                },
                MULTISESSION_REDIS={"URL": server.url},
            )
            django.setup()
            write_table({kind: (profile(kind, "stock"), profile(kind, "ours")) for kind in KINDS})


def write_table(found: dict[str, tuple[Counter[str], Counter[str]]]) -> None:
    parts = [*PARTS.values(), PYTHON]
    heads = ["request", "stock", "ours", *(f"of it {part}" for part in parts)]
    sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    for kind, (stock, ours) in found.items():
        counts = [sum(stock.values()), sum(ours.values()), *(ours[part] for part in parts)]
        sys.stdout.write(f"| {kind} | {' | '.join(f'{count:,}' for count in counts)} |\n")


if __name__ == "__main__":
    main()
