"""The site with django-allauth."""

from __future__ import annotations

from django.urls import include, path

from tests.clients import urls

urlpatterns = [
    *urls.urlpatterns,
    path("accounts/", include("allauth.account.urls")),
    path("accounts/sessions/", include("allauth.usersessions.urls")),
]
