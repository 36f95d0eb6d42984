"""Every page twice: with sync views, and under ``/async/`` with async ones."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from shop import views

SYNC = [
    path("", views.overview, name="overview"),
    path("read/", views.reading, name="reading"),
    path("state.json", views.state, name="state"),
    path("cart/add/<slug:sku>/", views.add_to_cart, name="add"),
    path("cart/remove/<slug:sku>/", views.remove_from_cart, name="remove"),
    path("cart/empty/", views.empty_cart, name="empty"),
    path("log-in/", views.log_in, name="log_in"),
    path("log-out/", views.log_out, name="log_out"),
]
ASYNC = [
    path("", views.aoverview, name="overview"),
    path("read/", views.areading, name="reading"),
    path("state.json", views.astate, name="state"),
    path("cart/add/<slug:sku>/", views.aadd_to_cart, name="add"),
    path("cart/remove/<slug:sku>/", views.aremove_from_cart, name="remove"),
    path("cart/empty/", views.aempty_cart, name="empty"),
    path("log-in/", views.alog_in, name="log_in"),
    path("log-out/", views.alog_out, name="log_out"),
]

urlpatterns = [
    path("admin/", admin.site.urls),
    path("account/sessions/", include("django_multisession.user_sessions.urls")),
    # A page links to its own kind: {% url %} stays in the namespace it is rendered in.
    path("async/", include((ASYNC, "shop"), namespace="async")),
    path("", include((SYNC, "shop"), namespace="sync")),
]
