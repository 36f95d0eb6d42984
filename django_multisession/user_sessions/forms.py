"""Login forms."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest

from django_multisession.exceptions import SessionLimitReached
from django_multisession.user_sessions import at_limit


class SessionLimitMixin:
    """Shows a message in a login form where ``MULTISESSION_AT_LIMIT`` denies the login.

    >>> class LoginForm(SessionLimitMixin, AuthenticationForm):
    ...     pass
    """

    request: HttpRequest | None

    def confirm_login_allowed(self, user: Any) -> None:
        """See AuthenticationForm.confirm_login_allowed()."""
        super().confirm_login_allowed(user)  # type: ignore[misc]  # of the form that this is mixed into
        if at_limit(user, self.request):
            raise ValidationError(str(SessionLimitReached()), code="session_limit")
