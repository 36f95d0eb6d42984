"""The page on which a user authenticates again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth import authenticate, update_session_auth_hash
from django.contrib.auth.views import RedirectURLMixin, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.csrf import rotate_token
from django.shortcuts import resolve_url
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic.edit import FormView

from django_multisession.decorators import is_own_session, session_of
from django_multisession.settings import conf


class ReauthenticationForm(forms.Form):
    """Asks a user who is logged in for the password.

    Args:
        user: Whose password it is.
        request: For the authentication backends of the site, all of which are asked.
    """

    error_messages = {  # noqa: RUF012  (as Django's forms have it)
        "wrong_password": _("That is not your password. Try again."),
    }

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )

    def __init__(self, *args: Any, user: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user, self.request = user, request

    @sensitive_variables("password")
    def clean_password(self) -> str:
        """Check it. A wrong one sends Django's ``user_login_failed``, as at a login.

        Raises:
            ValidationError: No backend takes it, or one takes it for another user.
        """
        password: str = self.cleaned_data["password"]
        found = authenticate(self.request, username=self.user.get_username(), password=password)
        if found is None or found.pk != self.user.pk:
            raise forms.ValidationError(
                self.error_messages["wrong_password"], code="wrong_password"
            )
        # A backend upgrades an old hash, after which Django would refuse the session. What was
        # checked is what counts: a user who is read again may have another password by then.
        if found.password != self.user.password:
            update_session_auth_hash(self.request, found)
        return password


if TYPE_CHECKING:
    _FormView = FormView[ReauthenticationForm]
else:
    _FormView = FormView


@method_decorator([sensitive_post_parameters(), csrf_protect, never_cache], name="dispatch")
class ReauthenticateView(RedirectURLMixin, _FormView):
    """Asks a user for the password, notes the authentication and redirects to ``next``.

    A site without passwords subclasses it: `form_class` is any form that takes *user* and *request*
    and is valid once the user has proved who they are.
    """

    form_class = ReauthenticationForm
    template_name = "django_multisession/reauthenticate.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """See View.dispatch()."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path(), resolve_url(conf.given("LOGIN_URL")))
        if not is_own_session(request):
            raise PermissionDenied("The session belongs to another user than the request does.")
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        """See FormMixin.get_form_kwargs()."""
        return {**super().get_form_kwargs(), "user": self.request.user, "request": self.request}

    def get_default_redirect_url(self) -> str:
        """Return where to go without ``next``: where a login goes."""
        return resolve_url(self.next_page or conf.given("LOGIN_REDIRECT_URL"))

    def form_valid(self, form: ReauthenticationForm) -> HttpResponse:
        """Note the authentication."""
        session_of(self.request).note_authentication()
        rotate_token(self.request)
        return super().form_valid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """See FormMixin.get_context_data()."""
        context = super().get_context_data(**kwargs)
        return {
            **context,
            "has_password": self.request.user.has_usable_password(),  # type: ignore[union-attr]  # see dispatch()
            "redirect_field_name": self.redirect_field_name,
            "redirect_url": self.get_redirect_url(),
        }
