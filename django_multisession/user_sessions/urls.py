"""``path("account/sessions/", include("django_multisession.user_sessions.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_multisession.user_sessions import pages
from django_multisession.user_sessions.reauthentication import ReauthenticateView
from django_multisession.user_sessions.time_left import time_left

app_name = "user_sessions"

urlpatterns = [
    path("", pages.SessionListView.as_view(), name="list"),
    path("end-others/", pages.EndOtherSessionsView.as_view(), name="end_others"),
    path("<str:session_id>/end/", pages.EndSessionView.as_view(), name="end"),
    path("reauthenticate/", ReauthenticateView.as_view(), name="reauthenticate"),
    path("time-left/", time_left, name="time_left"),
]
