"""The pages on which users see their sessions, and end one or the others.

`django_multisession.user_sessions.urls` has them. A site overrides their templates, or subclasses the
views and names them in URLs of its own.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.generic import ListView, TemplateView

from django_multisession.user_sessions import (
    UserSession,
    end_other_sessions,
    end_session,
    is_current,
    list_sessions,
)
from django_multisession.user_sessions.mixins import RecentlyAuthenticatedMixin

__all__ = ["EndOtherSessionsView", "EndSessionView", "SessionListView"]


def were_ended(count: int) -> str:
    """Return the message after *count* sessions were ended."""
    return ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", count) % {
        "count": count
    }


def own_first(sessions: list[UserSession]) -> list[UserSession]:
    """Return *sessions* in their order, the current one before the others."""
    return sorted(sessions, key=lambda each: not each.is_current)


@method_decorator([never_cache, csrf_protect], name="dispatch")
class SessionPageMixin(LoginRequiredMixin):
    """A page for a user who is logged in. No cache keeps it."""

    request: HttpRequest

    def sessions(self) -> list[UserSession]:
        """Return the sessions that the page is about, the current one first.

        Raises:
            ImproperlyConfigured: The engine can't find the sessions of a user.
            StoreUnavailable: The server did not answer.
        """
        return own_first(list_sessions(self.request.user, self.request))

    def list_url(self) -> str:
        """Return the address of the list."""
        found = self.request.resolver_match
        return reverse("user_sessions:list", current_app=found.namespace if found else None)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the messages, which a site may have no context processor for."""
        shown = messages.get_messages(self.request)
        context: dict[str, Any] = super().get_context_data(messages=shown, **kwargs)  # type: ignore[misc]  # a view's
        return context


class SessionListView(SessionPageMixin, ListView):  # type: ignore[type-arg]  # of no model
    """The live sessions of the user, each with a button that ends it."""

    template_name = "django_multisession/session_list.html"
    context_object_name = "sessions"
    paginate_by = 50

    def get_queryset(self) -> Any:
        """Return the sessions."""
        return self.sessions()


class EndPageMixin(SessionPageMixin, RecentlyAuthenticatedMixin):
    """A page that says what it ends, for a user who authenticated lately, and ends it."""

    def done(self, message: str) -> HttpResponse:
        """Return to the list, with *message* if the site uses Django's messages."""
        messages.success(self.request, message, fail_silently=True)
        return HttpResponseRedirect(self.list_url())


class EndSessionView(EndPageMixin, TemplateView):
    """Asks whether to end one session, and ends it. To end the current one is to log out."""

    template_name = "django_multisession/end_session.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the session.

        Raises:
            Http404: The user has no such session.
        """
        return super().get_context_data(session=self.session(), **kwargs)

    def session(self) -> UserSession:
        """Return the session that the address names.

        Raises:
            Http404: The user has no such session.
        """
        for each in self.sessions():
            if each.id == self.kwargs["session_id"]:
                return each
        raise Http404

    def post(self, request: HttpRequest, session_id: str) -> HttpResponseBase:
        """End the session.

        Raises:
            Http404: The user has no such session.
        """
        if is_current(request, session_id):
            logout(request)
            # Which asks for the login.
            return HttpResponseRedirect(self.list_url())
        if not end_session(request.user, session_id):
            raise Http404
        return self.done(gettext("The session was ended."))


class EndOtherSessionsView(EndPageMixin, TemplateView):
    """Asks whether to end all sessions but the current one, and ends them."""

    template_name = "django_multisession/end_other_sessions.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the other sessions."""
        others = [each for each in self.sessions() if not each.is_current]
        return super().get_context_data(sessions=others, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        """End the other sessions; the current one gets a new key."""
        ended = end_other_sessions(request)
        if not ended:
            return self.done(gettext("You have no other session."))
        return self.done(were_ended(ended))
