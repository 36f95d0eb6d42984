"""The devices of a user's sessions: how they are called, and whether a login comes from a new one."""

from __future__ import annotations

from collections.abc import Collection

from django.utils.translation import gettext

from django_multisession import signals
from django_multisession.core.devices import device_of, identity_of, shown_name
from django_multisession.drivers.base import is_indexed
from django_multisession.exceptions import StoreUnavailable
from django_multisession.session import index
from django_multisession.session.events import Login
from django_multisession.session.index import Found
from django_multisession.session.state import Session
from django_multisession.session.steps import Steps


def name_of(user_agent: str) -> str:
    """Return the device of *user_agent* for people, in their language; empty if it isn't known.

    It is the client's text too: an app may call itself anything that looks like a name.
    """
    browser, system = map(shown_name, device_of(user_agent))
    if browser and system:
        return gettext("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    return browser or system


def is_new(login: Found | Login, others: list[Found], earlier_agents: Collection[str] = ()) -> bool:
    """Has none of *others* the device of *login*, and no session that recorded one of *earlier_agents*?

    Those count that recorded a device and began before. A user who has no such session has no device
    to compare with, and every login would be new.
    """
    own = identity_of(login.user_agent or "")
    known = {identity_of(each) for each in earlier_agents} | {
        identity
        for each in others
        if each.user_agent is not None
        and _is_earlier(each, login, is_same=(identity := identity_of(each.user_agent)) == own)
    }
    return bool(known) and own not in known


def compare_before_limit(session: Session, earlier_agents: Collection[str]) -> Steps[None]:
    """Compare logins of *session* before the limit ends the sessions that they are compared with.

    A concurrent login may have ended some already, and this login with them: those count that the
    login found before it was stored.
    """
    for login in [each for each in session.events if isinstance(each, Login)]:
        session.events.remove(login)
        yield from compare(session, login, earlier_agents)


def compare(session: Session, login: Login, earlier_agents: Collection[str] = ()) -> Steps[None]:
    """Note that *login* comes from a new device, if it does. It isn't in an outage."""
    if not is_indexed(session.site.driver):
        return
    try:
        found = yield from index.find(session, login.user_id)
    except StoreUnavailable:
        return  # the login is stored; the outage is logged where it began
    series = login.record.series
    # It may have ended meanwhile.
    is_live = any(each.record.series == series for each in found)
    if (is_live or earlier_agents) and is_new(login, found, earlier_agents):
        session.note(
            signals.new_device,
            storage_key=login.storage_key,
            user_id=login.user_id,
            session_id=series.hex(),
            user_agent=login.user_agent,
            device=name_of(login.user_agent),
            address=login.address,
        )


def _is_earlier(other: Found, login: Found | Login, *, is_same: bool) -> bool:
    began, own_ms = other.record.began_ms, login.record.began_ms
    # Of two concurrent logins from one new device, one is new: not none, because each saw the other.
    return began < own_ms or (
        began == own_ms and (not is_same or other.record.series < login.record.series)
    )
