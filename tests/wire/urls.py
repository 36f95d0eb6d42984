"""The pages of `views`, each under its name."""

from __future__ import annotations

from django.urls import path

from tests.wire import views

PAGES = ("untouched", "read", "user", "write", "login", "logout", "flush")

urlpatterns = [
    *(
        path(f"{prefix}{page}/", getattr(views, prefix + page))
        for page in PAGES
        for prefix in ("", "a")
    ),
    path("awrite_and_leave_it/", views.awrite_and_leave_it),
]
