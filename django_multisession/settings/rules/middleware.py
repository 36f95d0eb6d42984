"""What ``MIDDLEWARE`` and ``INSTALLED_APPS`` must hold, and in which order: pure rules."""

from __future__ import annotations

from collections.abc import Sequence

from django_multisession.core.problems import Problem
from django_multisession.settings.check_ids import Check

DJANGOS_APP = "django.contrib.sessions"
DJANGOS_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OUR_MIDDLEWARE = "django_multisession.middleware.SessionMiddleware"
DJANGOS_LOGIN_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"


def several_session_middlewares(paths: Sequence[str]) -> list[Problem]:
    """Report session middlewares of *paths*, if they are more than one."""
    if len(paths) < 2:  # noqa: PLR2004  (several)
        return []
    own = [path for path in paths if path != DJANGOS_MIDDLEWARE]
    kept = OUR_MIDDLEWARE if OUR_MIDDLEWARE in own else (own or paths)[0]
    surplus = [path for path in paths if path != kept] or [f"the second {kept}"]
    return [
        Check.SEVERAL_SESSION_MIDDLEWARES.found(
            f"MIDDLEWARE must hold one session middleware (got {' and '.join(paths)}): each "
            "replaces the session of the one before, and saves it once more.",
            f"Remove {' and '.join(surplus)} from MIDDLEWARE.",
        )
    ]


def session_behind_login(
    paths: Sequence[str], sessions: Sequence[str], logins: Sequence[str]
) -> list[Problem]:
    """Report a login middleware that would find no session.

    Args:
        paths: ``MIDDLEWARE``.
        sessions: Those of *paths* that give a request its session.
        logins: Those of *paths* that read its user from that.
    """
    if not logins:
        return []
    login = logins[0]
    if sessions and paths.index(sessions[0]) < paths.index(login):
        return []
    found = "it comes after" if sessions else "none"
    name = sessions[0] if sessions else OUR_MIDDLEWARE
    return [
        Check.SESSION_BEHIND_LOGIN.found(
            f"A session middleware must come before {login!r} in MIDDLEWARE (got {found}): that "
            "finds no session otherwise, and every request fails.",
            f'{"Move" if sessions else "Put"} "{name}" before it.',
        )
    ]


def ignoring_in_vain(on_interrupted: str, ours: Sequence[str]) -> list[Problem]:
    """Report that no middleware ignores what ``MULTISESSION_ON_INTERRUPTED`` says to.

    Args:
        on_interrupted: The setting.
        ours: Those of ``MIDDLEWARE`` that are our session middleware or made from it.
    """
    if on_interrupted != "ignore" or ours:
        return []
    return [
        Check.IGNORING_WITHOUT_EFFECT.found(
            'MULTISESSION_ON_INTERRUPTED must be "error" without our session middleware '
            f"(got {on_interrupted!r}): under Django's own it has no effect.",
            f'Put "{OUR_MIDDLEWARE}" into MIDDLEWARE, in the place of Django\'s.',
        )
    ]


def djangos_middleware(sessions: Sequence[str], ours: Sequence[str]) -> list[Problem]:
    """Report what an engine of this package lacks under Django's session middleware.

    Args:
        sessions: The session middlewares of ``MIDDLEWARE``.
        ours: Those of *sessions* that are this package's middleware or made from it.
    """
    if ours or not sessions:
        return []
    found = sessions[0]
    replacement = f'In MIDDLEWARE, replace "{found}" with "{OUR_MIDDLEWARE}".'
    return [
        Check.DJANGOS_MIDDLEWARE.found(
            f"MIDDLEWARE has {found!r} and not {OUR_MIDDLEWARE!r}. In an outage, pages return 500 "
            "and not 503. Of several cookies of one name, only the last is tried. Responses that "
            "set the cookie lack Cache-Control: private, no-store. Async requests use threads.",
            replacement
            if found == DJANGOS_MIDDLEWARE
            else f'Let "{found}" inherit from "{OUR_MIDDLEWARE}".',
        )
    ]


def hidden_command(app_names: Sequence[str]) -> list[Problem]:
    """Report that ``manage.py clearsessions`` is Django's; *app_names* are in order."""
    ours = "django_multisession"
    # A test may take an app out of INSTALLED_APPS; checks that were registered stay so.
    found = [name for name in app_names if name in (DJANGOS_APP, ours)]
    if found != [DJANGOS_APP, ours]:
        return []
    return [
        Check.HIDDEN_COMMAND.found(
            f"{ours!r} must come before {DJANGOS_APP!r} in INSTALLED_APPS (it comes after): "
            "manage.py clearsessions is Django's otherwise, without our options and its report.",
            f'INSTALLED_APPS = ["{ours}", ...the others]: move it to the front.',
        )
    ]
