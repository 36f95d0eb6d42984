"""Every system check of the settings: its id, and how serious what it finds is.

The checks of a server are its driver's. Numbers are counted through both letters, and those of
checks that are gone aren't given again: 010, 013 and 023 to 026.
"""

from __future__ import annotations

import enum

from django_multisession.core.problems import Problem, Severity


class Check(enum.Enum):
    """What `docs/reference/checks.md` describes, under the same ids."""

    IDLE_TIMEOUT = ("E001", Severity.ERROR)
    ABSOLUTE_TIMEOUT = ("E002", Severity.ERROR)
    ANONYMOUS_IDLE_TIMEOUT = ("E003", Severity.ERROR)
    TOUCH_INTERVAL = ("E004", Severity.ERROR)
    LONG_TOUCH_INTERVAL = ("E005", Severity.ERROR)
    ALWAYS_CYCLE_ON_LOGIN = ("E006", Severity.ERROR)
    ON_OUTAGE = ("E007", Severity.ERROR)
    MAX_SIZE = ("E008", Severity.ERROR)
    ENGINE_SETTING = ("E009", Severity.ERROR)
    ENGINE_NOT_OPENED = ("E011", Severity.ERROR)
    COOKIE_AGE = ("E012", Severity.ERROR)
    UNKNOWN_SETTING = ("E014", Severity.ERROR)
    COOKIE_PREFIX = ("E015", Severity.ERROR)
    INSECURE_SAME_SITE_NONE = ("E016", Severity.ERROR)
    SERIALIZER = ("E017", Severity.ERROR)
    SEVERAL_SESSION_MIDDLEWARES = ("E018", Severity.ERROR)
    HIDDEN_COMMAND = ("W019", Severity.WARNING)
    UNKNOWN_ENGINE = ("E020", Severity.ERROR)
    COOKIE_SAME_SITE = ("E021", Severity.ERROR)
    COOKIE_NAME = ("E022", Severity.ERROR)
    ON_INTERRUPTED = ("E027", Severity.ERROR)
    CONFLICT_RESOLVERS = ("E028", Severity.ERROR)
    IGNORING_WITHOUT_EFFECT = ("W029", Severity.WARNING)
    SESSION_BEHIND_LOGIN = ("E030", Severity.ERROR)
    NO_ENGINE = ("E031", Severity.ERROR)
    TIMEOUT_WITHOUT_EFFECT = ("W032", Severity.WARNING)
    RESOLVER_WITHOUT_EFFECT = ("W033", Severity.WARNING)
    ALIAS_IS_ADDRESS = ("E034", Severity.ERROR)
    NAMESPACE = ("E035", Severity.ERROR)
    UNKNOWN_OPTION = ("E036", Severity.ERROR)
    WRONG_OPTION = ("E037", Severity.ERROR)
    REMEMBERED_ABSOLUTE_TIMEOUT = ("E038", Severity.ERROR)
    MIGRATE_FROM = ("E039", Severity.ERROR)
    MIGRATE_UNTIL = ("E040", Severity.ERROR)
    MIGRATE_SINCE = ("E041", Severity.ERROR)
    MIGRATE_TO = ("E042", Severity.ERROR)
    MIGRATION_WITHOUT_EFFECT = ("W043", Severity.WARNING)
    UNFIT_ENGINE = ("E045", Severity.ERROR)
    SAME_TIERS = ("E046", Severity.ERROR)
    ENCRYPTION_KEYS = ("E050", Severity.ERROR)
    ENCRYPTION_WRITES = ("E051", Severity.ERROR)
    END_SESSIONS_ON = ("E052", Severity.ERROR)
    LIMIT_NOT_INDEXED = ("E055", Severity.ERROR)
    MAX_SESSIONS = ("E056", Severity.ERROR)
    AT_LIMIT = ("E057", Severity.ERROR)
    REAUTHENTICATION_URL = ("E058", Severity.ERROR)
    RECORD_USER_AGENT = ("E060", Severity.ERROR)
    RECORD_ADDRESS = ("E061", Severity.ERROR)
    CLIENT_ADDRESS = ("E062", Severity.ERROR)
    PAGES_WITHOUT_INDEX = ("W063", Severity.WARNING)
    ADMIN_WITHOUT_INDEX = ("E064", Severity.ERROR)
    LISTED_WITHOUT_REVOCATION = ("E065", Severity.ERROR)
    NOT_SECURE = ("W120", Severity.WARNING)
    NOT_HTTP_ONLY = ("W121", Severity.WARNING)
    CROSS_SITE = ("W122", Severity.WARNING)
    UNPICKLING = ("W123", Severity.WARNING)
    NO_IDLE_TIMEOUT = ("W124", Severity.WARNING)
    NO_ABSOLUTE_TIMEOUT = ("W125", Severity.WARNING)
    UNSHARED_ENGINE = ("W126", Severity.WARNING)
    FOREIGN_ENGINE = ("W127", Severity.WARNING)
    PASSWORD_IN_ADDRESS = ("W128", Severity.WARNING)
    ENDLESS_MIGRATION = ("W129", Severity.WARNING)
    DJANGOS_MIDDLEWARE = ("I130", Severity.INFO)

    def __init__(self, number: str, severity: Severity) -> None:
        self.id = f"multisession.{number}"
        self.severity = severity

    def found(self, message: str, hint: str) -> Problem:
        """Return what the check found."""
        return Problem(self.id, message, hint, self.severity)
