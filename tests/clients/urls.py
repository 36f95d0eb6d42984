"""The site whose pages the tests of real packages ask for."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from tests.clients import api
from tests.web import shop, visits

urlpatterns = [
    path("visit/<str:name>/", visits.visit),
    path("token/", shop.token),
    path("admin/", admin.site.urls),
    path("notes/", api.Notes.as_view()),
    path("does/<str:name>/", api.Does.as_view()),
    path("auth/", include("rest_framework.urls")),
]
