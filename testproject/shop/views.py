"""The shop's pages: each view, and below it the same one with Django's async session API.

Nothing here is special to django_multisession but `deadlines()`, which the countdowns show.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import aauthenticate, alogin, alogout, authenticate, login, logout
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import resolve, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from django_multisession.drivers.base import Indexed
from django_multisession.store import DriverSessionStore
from shop.catalogue import PRODUCTS, cart_lines, total
from shop.environment import ENGINES, Environment
from shop.summary import Visit, beginning, summarize

ENVIRONMENT = Environment.read()


def overview(request: HttpRequest) -> HttpResponse:
    """Show the session and everything that changes it."""
    return _page(request, "shop/overview.html", _visit(request))


async def aoverview(request: HttpRequest) -> HttpResponse:
    """See overview()."""
    return _page(request, "shop/overview.html", await _avisit(request))


def reading(request: HttpRequest) -> HttpResponse:
    """Show the session and change nothing."""
    return _page(request, "shop/reading.html", _visit(request))


async def areading(request: HttpRequest) -> HttpResponse:
    """See reading()."""
    return _page(request, "shop/reading.html", await _avisit(request))


def state(request: HttpRequest) -> HttpResponse:
    """Tell the session as JSON."""
    return _state(request, _visit(request))


async def astate(request: HttpRequest) -> HttpResponse:
    """See state()."""
    return _state(request, await _avisit(request))


@require_POST
def add_to_cart(request: HttpRequest, sku: str) -> HttpResponse:
    """Put one more into the cart."""
    _require_product(sku)
    cart = request.session.setdefault("cart", {})
    cart.setdefault(sku, 0)
    # Inside an entry, without `request.session.modified = True`: Django's own engines lose this.
    cart[sku] += 1
    return _back(request, "cart")


@require_POST
async def aadd_to_cart(request: HttpRequest, sku: str) -> HttpResponse:
    """See add_to_cart()."""
    _require_product(sku)
    cart = await request.session.asetdefault("cart", {})
    cart.setdefault(sku, 0)
    cart[sku] += 1
    return _back(request, "cart")


@require_POST
def remove_from_cart(request: HttpRequest, sku: str) -> HttpResponse:
    """Take one out of the cart."""
    _take_one(request.session.get("cart", {}), sku)
    return _back(request, "cart")


@require_POST
async def aremove_from_cart(request: HttpRequest, sku: str) -> HttpResponse:
    """See remove_from_cart()."""
    _take_one(await request.session.aget("cart", {}), sku)
    return _back(request, "cart")


@require_POST
def empty_cart(request: HttpRequest) -> HttpResponse:
    """Remove the cart's entry."""
    request.session.pop("cart", None)
    return _back(request, "cart")


@require_POST
async def aempty_cart(request: HttpRequest) -> HttpResponse:
    """See empty_cart()."""
    await request.session.apop("cart", None)
    return _back(request, "cart")


@require_POST
def log_in(request: HttpRequest) -> HttpResponse:
    """Log in, and note how the session key changed."""
    key_before = request.session.session_key
    user = authenticate(request, **_credentials(request))
    if user is None:
        return overview(request)
    login(request, user)
    request.session["key_at_login"] = _key_change(key_before, request.session.session_key)
    return _back(request, "account")


@require_POST
async def alog_in(request: HttpRequest) -> HttpResponse:
    """See log_in()."""
    key_before = request.session.session_key
    user = await aauthenticate(request, **_credentials(request))
    if user is None:
        return await aoverview(request)
    await alogin(request, user)
    await request.session.aset("key_at_login", _key_change(key_before, request.session.session_key))
    return _back(request, "account")


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return _back(request, "account")


@require_POST
async def alog_out(request: HttpRequest) -> HttpResponse:
    """See log_out()."""
    await alogout(request)
    return _back(request, "account")


def _visit(request: HttpRequest) -> Visit:
    session: Any = request.session
    return Visit(
        entries=dict(session.items()),
        session_key=session.session_key,
        age_left=session.get_expiry_age(),
        absolute_deadline_at=session.deadlines().absolute_deadline_at if _tells(session) else None,
        user=request.user,
    )


async def _avisit(request: HttpRequest) -> Visit:
    """See _visit()."""
    session: Any = request.session
    return Visit(
        entries=dict(await session.aitems()),
        session_key=session.session_key,
        age_left=await session.aget_expiry_age(),
        absolute_deadline_at=(await session.adeadlines()).absolute_deadline_at
        if _tells(session)
        else None,
        user=await request.auser(),
    )


def _tells(session: object) -> bool:
    """Tell whether the engine has deadlines to show; those of others have none."""
    return hasattr(session, "deadlines")


def _lists_sessions(session: object) -> bool:
    """Tell whether the engine finds the sessions of a user."""
    return isinstance(session, DriverSessionStore) and isinstance(session.get_driver(), Indexed)


def _page(request: HttpRequest, template: str, visit: Visit) -> HttpResponse:
    lines = cart_lines(visit.entries.get("cart", {}))
    is_async = _namespace(request) == "async"
    page = "reading" if template == "shop/reading.html" else "overview"
    return render(
        request,
        template,
        {
            "engine": ENVIRONMENT.engine_title,
            "interface": _interface(request),
            "is_async": is_async,
            "twin_url": reverse(f"{'sync' if is_async else 'async'}:{page}"),
            "sites": [
                {
                    "title": ENGINES.get(engine, engine),
                    "url": url,
                    "is_here": engine == ENVIRONMENT.engine,
                }
                for engine, url in ENVIRONMENT.sites_by_engine.items()
            ],
            "session": summarize(visit, timezone.now()),
            "key_at_login": visit.entries.get("key_at_login"),
            "user_name": visit.user.get_username(),
            "lists_sessions": _lists_sessions(request.session),
            # A log-in that worked has redirected.
            "log_in_failed": request.method == "POST",
            "products": PRODUCTS.values(),
            "lines": lines,
            "total": total(lines),
        },
    )


def _state(request: HttpRequest, visit: Visit) -> HttpResponse:
    summary = summarize(visit, timezone.now())
    return JsonResponse(
        {
            "engine": ENVIRONMENT.engine,
            "interface": _interface(request),
            "views": _namespace(request),
            "user": visit.user.get_username() or None,
            "key": summary.key,
            "entries": [entry.name for entry in summary.entries],
            "cart": visit.entries.get("cart", {}),
            "idle_seconds": summary.idle and summary.idle.seconds,
            "absolute_seconds": summary.absolute and summary.absolute.seconds,
        }
    )


def _interface(request: HttpRequest) -> str:
    return "ASGI" if isinstance(request, ASGIRequest) else "WSGI"


def _namespace(request: HttpRequest) -> str:
    return resolve(request.path).namespace


def _back(request: HttpRequest, section: str) -> HttpResponse:
    """Redirect to the part of the page that the form is in."""
    return redirect(f"{reverse(f'{_namespace(request)}:overview')}#{section}")


def _credentials(request: HttpRequest) -> dict[str, str]:
    return {name: request.POST.get(name, "") for name in ("username", "password")}


def _key_change(before: str | None, now: str | None) -> dict[str, str | None]:
    return {"before": beginning(before), "now": beginning(now)}


def _require_product(sku: str) -> None:
    if sku not in PRODUCTS:
        raise Http404(f"There is no product {sku!r}.")


def _take_one(cart: dict[str, int], sku: str) -> None:
    if sku in cart:
        cart[sku] -= 1
        if cart[sku] < 1:
            del cart[sku]
