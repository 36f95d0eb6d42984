"""The sessions of users in Django's admin: seen, filtered, and ended one by one or several.

The pages hold no session key and nothing that a session holds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from django_multisession.core.merging import USER_ID_ENTRY
from django_multisession.core.records import SERIES_LENGTH
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session_admin.models import Session
from django_multisession.session_admin.selection import Selection, State
from django_multisession.user_sessions import (
    UserSession,
    end_other_sessions,
    everyone,
    id_of,
    users,
)
from django_multisession.user_sessions.pages import were_ended

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Session]
else:
    _ModelAdmin = admin.ModelAdmin

#: Sessions of a page.
SIZE = 100
_ID_LENGTH = 2 * SERIES_LENGTH


class Row(NamedTuple):
    """One session, as the table has it.

    Attributes:
        session: What is known of it.
        user_name: The user's name; the id, if the user is gone.
        user_page: The address of the user's page, if there is one that may be seen.
    """

    session: UserSession
    user_name: str
    user_page: str | None

    @property
    def id(self) -> str:
        """What a form sends."""
        return _form_id(self.session)


class Shown(NamedTuple):
    """What a page shows.

    Attributes:
        sessions: Those of the page.
        number: How many there are in all; None if that isn't known.
        following: What the next page is asked for by, if there is one.
    """

    sessions: list[UserSession]
    number: int | None
    following: Selection | None


_protected = method_decorator([csrf_protect, never_cache])


@admin.register(Session)
class SessionAdmin(_ModelAdmin):
    """Lists and ends the sessions that the site's engine holds; no query is made for them."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002  (Django's signature)
        """No one adds a session: a login does."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002  (as above)
        """No one changes a session."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say whether the user may end sessions: those of the question are seen."""
        may_end = request.user.has_perm(f"{self.opts.app_label}.end_session")
        return may_end and self.has_view_permission(request, obj)

    def get_urls(self) -> list[Any]:
        """Return the two pages: the list, and the question before an end."""
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name=f"{name}_changelist"),
            path("end/", wrap(self.end_view), name=f"{name}_end"),
        ]

    @_protected
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a page of the sessions.

        Raises:
            PermissionDenied: The user may not see sessions.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        selection = Selection.read(request.GET)
        shown = self._shown(request, selection)
        rows = self._rows(request, shown.sessions)
        is_of_user = bool(selection.user or selection.user_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Select sessions to end")
            if self.has_delete_permission(request)
            else gettext("Sessions"),
            "rows": rows,
            "count": shown.number,
            "selection": selection,
            "owners": {each.session.user_id: each.user_name for each in rows if is_of_user},
            "following": shown.following,
            "states": [(each, selection.first._replace(state=each)) for each in State],
            "may_end": self.has_delete_permission(request),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "django_multisession/admin/session_list.html", context)

    @_protected
    def end_view(self, request: HttpRequest) -> HttpResponse:
        """Ask whether to end the sessions that were chosen, and end them.

        Raises:
            PermissionDenied: The user may not end sessions.
        """
        if not self.has_delete_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        chosen, all_of = set(given.getlist("id")), given.get("all_of", "")
        sessions = self._chosen(request, chosen, all_of)
        back = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist",
            current_app=self.admin_site.name,
        )
        if all_of:
            back += Selection(user_id=all_of).address
        if not sessions:
            messages.warning(
                request, gettext("No session was chosen that is live and isn't yours.")
            )
            return HttpResponseRedirect(back)
        if request.method == "POST" and "confirmed" in request.POST:
            ended = self._end(request, sessions, all_of)
            messages.success(request, were_ended(ended))
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Are you sure?"),
            "rows": self._rows(request, sessions),
            "all_of": all_of,
            "back": back,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "django_multisession/admin/end_sessions.html", context)

    def _shown(self, request: HttpRequest, selection: Selection) -> Shown:
        if selection.state is State.CURRENT:
            own = everyone.list_of(request, user_id_in(request))
            found = [each for each in own if each.is_current]
            return Shown(found, len(found), None)
        user_ids = {selection.user_id} if selection.user_id else _ids_of(selection.user)
        if user_ids == {""}:
            page = everyone.list_page(request, selection.cursor, SIZE)
            following = selection._replace(cursor=page.cursor) if page.cursor else None
            return Shown(
                [each for each in page.sessions if selection.state.has(each)], None, following
            )
        found = [
            each
            for user_id in sorted(user_ids)
            for each in everyone.list_of(request, user_id)
            if selection.state.has(each)
        ]
        end = selection.number * SIZE
        following = selection._replace(number=selection.number + 1) if found[end:] else None
        return Shown(found[end - SIZE : end], len(found), following)

    def _rows(self, request: HttpRequest, sessions: list[UserSession]) -> list[Row]:
        existing = users.existing(each.user_id for each in sessions)
        may_see = admin_may_see(self.admin_site, request)
        rows = []
        for each in sessions:
            user = existing.get(each.user_id)
            address = _page_of(user, self.admin_site.name) if user is not None and may_see else None
            name = gettext("user %(id)s, who is gone") % {"id": each.user_id}
            rows.append(Row(each, name if user is None else user.get_username(), address))
        return rows

    def _chosen(self, request: HttpRequest, chosen: set[str], all_of: str) -> list[UserSession]:
        """Return those live sessions that were chosen, without the user's own."""
        user_ids = {all_of} if all_of else {each[_ID_LENGTH:] for each in chosen}
        return [
            session
            for user_id in sorted(user_ids)
            for session in everyone.list_of(request, user_id)
            if not session.is_current and (all_of or _form_id(session) in chosen)
        ]

    def _end(self, request: HttpRequest, sessions: list[UserSession], all_of: str) -> int:
        if all_of:
            return self._end_all_of(request, all_of)
        ended: Counter[str] = Counter()
        try:
            for each in sessions:
                ended[each.user_id] += everyone.end(each.user_id, each.id)
        finally:
            # An outage takes back no end before it.
            for user_id, count in (+ended).items():
                self._note(request, user_id, _count_text(count))
        return ended.total()

    def _end_all_of(self, request: HttpRequest, user_id: str) -> int:
        try:
            if user_id == user_id_in(request):
                count = end_other_sessions(request)
            else:
                count = everyone.end_all_of(user_id)
        except StoreUnavailable:
            self._note(request, user_id, gettext("An outage interrupted the end of all sessions."))
            raise
        self._note(request, user_id, _count_text(count))
        return count

    def _note(self, request: HttpRequest, user_id: str, text: str) -> None:
        """Write *text* into the history of the user whose sessions were ended."""
        user: Any = users.existing([user_id]).get(user_id)
        LogEntry.objects.create(
            user=cast("Any", request.user),
            content_type=ContentType.objects.get_for_model(get_user_model()),
            object_id=user_id,
            object_repr=str(user or user_id)[:200],
            action_flag=CHANGE,
            change_message=text,
        )


def _ids_of(typed: str) -> set[str]:
    """Return the ids that *typed* may mean: itself, also if its user is gone, and that of the user with this name."""
    user = users.named(typed)
    return {typed} if user is None else {typed, id_of(user)}


def _page_of(user: Any, site_name: str) -> str | None:
    """Return the address of the user's page in the admin; None if it has none."""
    meta = type(user)._meta  # noqa: SLF001  (Django's name)
    name = f"admin:{meta.app_label}_{meta.model_name}_change"
    try:
        return reverse(name, args=[quote(user.pk)], current_app=site_name)
    except NoReverseMatch:
        return None


def _form_id(session: UserSession) -> str:
    """Return what a form sends of *session*: its id, and its user's."""
    return session.id + session.user_id


def _count_text(count: int) -> str:
    return ngettext("Ended %(count)d session.", "Ended %(count)d sessions.", count) % {
        "count": count
    }


def user_id_in(request: HttpRequest) -> str:
    """Return whose session *request* has: where an admin acts as a user, not `request.user`."""
    return str(request.session.get(USER_ID_ENTRY, ""))


def admin_may_see(site: admin.AdminSite, request: HttpRequest) -> bool:
    """May the user of *request* see the pages of users in *site*?"""
    user_admin = site._registry.get(get_user_model())  # noqa: SLF001  (get_model_admin() raises)
    return user_admin is not None and user_admin.has_view_or_change_permission(request)
