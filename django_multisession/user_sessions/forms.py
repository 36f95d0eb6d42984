"""Forms of login pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_multisession.core.lifetime import DEFAULT_ABSOLUTE_TIMEOUT
from django_multisession.exceptions import SessionLimitReached
from django_multisession.settings import conf
from django_multisession.user_sessions import at_limit

#: Where a form leaves for the login of its request whether the box was ticked, and for how long.
_CHOICE = "_multisession_remember_me"


class RememberMeMixin(forms.Form):
    """A login form with a box that has the session remembered.

    The login of the same request carries the choice out, whoever calls Django's ``login()``. Without
    the box ticked, the session has the timeouts of every other one.

    Attributes:
        remembered_for: How long a remembered session lives; None for
            ``MULTISESSION_REMEMBERED_ABSOLUTE_TIMEOUT``, or 30 days without it.
    """

    remembered_for: ClassVar[timedelta | None] = None

    remember_me = forms.BooleanField(label=_("Keep me logged in on this device"), required=False)

    def clean(self) -> dict[str, Any]:
        """Note the choice for the login of the form's ``request``."""
        cleaned = super().clean()
        request: HttpRequest | None = getattr(self, "request", None)
        if request is not None:
            is_ticked = bool(self.cleaned_data.get("remember_me"))
            length = self.remembered_for or remembered_timeout()
            setattr(request, _CHOICE, length if is_ticked else None)
        return self.cleaned_data if cleaned is None else cleaned


class RememberMeAuthenticationForm(RememberMeMixin, AuthenticationForm):
    """Django's login form with the box: ``LoginView.as_view(authentication_form=…)``."""


def remembered_timeout() -> timedelta:
    """Return how long a remembered session lives by the settings."""
    return conf.config().policy.remembered_absolute_timeout or DEFAULT_ABSOLUTE_TIMEOUT


# After the login: it may have begun another session.
@receiver(user_logged_in, dispatch_uid="django_multisession.user_sessions.forms")
def _carry_out(request: HttpRequest | None = None, **_kwargs: Any) -> None:
    if hasattr(request, _CHOICE):
        # None undoes what an earlier login of the same user chose.
        request.session.set_expiry(getattr(request, _CHOICE))  # type: ignore[union-attr]  # see above


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
