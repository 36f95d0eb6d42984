"""For Django REST framework, which this module alone imports."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from django_multisession.decorators import ASK_AGAIN, ASK_AGAIN_DETAIL, is_recent, require_age


class RecentlyAuthenticated(BasePermission):
    """Only for a user of ``SessionAuthentication`` who logged in or authenticated again lately.

    Another user receives a 403 with the code ``"reauthentication_required"``. A user of a token has no
    session that says when, and receives it too.

    Attributes:
        authenticated_within: How long an authentication is good for; a subclass changes it.
    """

    authenticated_within: ClassVar[timedelta] = timedelta(minutes=5)
    code = ASK_AGAIN
    message: ClassVar[Any] = {"code": ASK_AGAIN, "detail": ASK_AGAIN_DETAIL}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        require_age(cls.authenticated_within)

    def has_permission(self, request: Request, view: Any) -> bool:  # noqa: ARG002  (DRF's signature)
        """See BasePermission.has_permission()."""
        # None where the site wants it for an unknown one.
        if not getattr(request.user, "is_authenticated", False):
            return False
        return is_recent(request, request.user, self.authenticated_within)
