"""The pages of `views`, each under its name, and those whose body is a test's own."""

from __future__ import annotations

from django.urls import path

from tests.web import visits
from tests.wire import views

PAGES = (
    "untouched",
    "read",
    "user",
    "write",
    "write_and_leave_it",
    "login",
    "login_and_leave_it",
    "logout",
    "flush",
    "cycle",
)

urlpatterns = [
    *(
        path(f"{prefix}{page}/", getattr(views, prefix + page))
        for page in PAGES
        for prefix in ("", "a")
    ),
    path("visit/<name>/", visits.visit),
    path("avisit/<name>/", visits.avisit),
]
