"""The site that the browser tests visit."""

from __future__ import annotations

from django.urls import path

from tests.web import polling, shop, visits

urlpatterns = [
    path("visit/<str:name>/", visits.visit),
    path("avisit/<str:name>/", visits.avisit),
    path("token/", shop.token),
    path("atoken/", shop.atoken),
    path("buy/", shop.buy),
    path("abuy/", shop.abuy),
    path("say/", shop.say),
    path("hear/", shop.hear),
    path("poll/", polling.poll),
    path("apoll/", polling.apoll),
    path("poll-class/", polling.Poll.as_view()),
    path("apoll-class/", polling.APoll.as_view()),
]
