"""An API for who is logged in at the site."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tests.web import visits


class Api(APIView):
    """What every endpoint here asks for."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)


class Notes(Api):
    """The notes in the session of who is logged in."""

    def get(self, request: Request) -> Response:
        notes = request.session.get("notes", [])
        return Response({"answer": {"user": request.user.get_username(), "notes": notes}})

    def post(self, request: Request) -> Response:
        fields: Any = request.data
        request.session.setdefault("notes", []).append(fields["note"])
        return Response({"answer": request.session["notes"]}, status=201)


class Does(Api):
    """Does what a test's body says."""

    def get(self, request: Request, name: str) -> HttpResponseBase:
        return visits.visit(request._request, name)


def answer_500(_error: Exception, _context: Any) -> Response:
    """Answer every error in the API's own format, as many sites do."""
    return Response({"detail": "Something went wrong."}, status=500)
