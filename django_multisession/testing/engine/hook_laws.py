"""The laws of a subclass's hooks: they are called wherever Django's engines call them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.test import override_settings

from django_multisession.session.respond import CookieAnswer
from django_multisession.store import DriverSessionStore
from django_multisession.testing.engine.faults import EngineFaultFixtures
from django_multisession.testing.engine.fixtures import USER_ID, Open, saved, stored
from django_multisession.testing.rows import for_each
from django_multisession.testing.verbs import Clock, DriverVerbs, Run, SessionVerbs

FIRST_USES: dict[str, Callable[[SessionVerbs], Any]] = {
    "read": lambda session: session.get("a"),
    "login": lambda session: session.__setitem__(USER_ID, "7"),
    "cycle_key": lambda session: session.cycle_key(),
    "deadlines": lambda session: session.deadlines(),
    "every-request": lambda session: session.respond(),
    "save": lambda session: session.save(),
}


def hooked(session_store: type[DriverSessionStore]) -> Any:
    """Return a subclass of *session_store* that notes which of its hooks are called."""

    class SessionStore(session_store):  # type: ignore[misc, valid-type]  # the law's engine
        def __init__(self, session_key: str | None = None) -> None:
            self.calls: list[str] = []
            super().__init__(session_key)

        def load(self) -> dict[str, Any]:
            self.calls.append("load")
            loaded: dict[str, Any] = super().load()
            if loaded:
                loaded["migrated"] = True
            return loaded

        async def aload(self) -> dict[str, Any]:
            self.calls.append("load")
            loaded: dict[str, Any] = await super().aload()
            if loaded:
                loaded["migrated"] = True
            return loaded

        def save(self, must_create: bool = False) -> None:
            self.calls.append("save")
            super().save(must_create)

        async def asave(self, must_create: bool = False) -> None:
            self.calls.append("save")
            await super().asave(must_create)

        def delete(self, session_key: str | None = None) -> None:
            self.calls.append("delete")
            super().delete(session_key)

        async def adelete(self, session_key: str | None = None) -> None:
            self.calls.append("delete")
            await super().adelete(session_key)

    return SessionStore


def coded(session_store: type[DriverSessionStore]) -> Any:
    """Return a subclass of *session_store* that encodes its entries itself."""

    class SessionStore(session_store):  # type: ignore[misc, valid-type]  # the law's engine
        def encode(self, session_dict: dict[str, Any]) -> str:
            return "|".join(f"{name}~{value}" for name, value in session_dict.items())

        def decode(self, session_data: str | bytes) -> dict[str, Any]:
            text = session_data.decode() if isinstance(session_data, bytes) else session_data
            return dict(part.split("~") for part in text.split("|") if part)

    return SessionStore


class EngineHookLaws(EngineFaultFixtures):
    """What a subclass overrides is called, sync and async."""

    @for_each(
        "use",
        FIRST_USES,
    )
    def test_load_is_called_by_the_first_read_of_every_verb(
        self,
        session_store: type[DriverSessionStore],
        open_session: Open,
        run: Run | None,
        use: str,
    ) -> None:
        key = saved(open_session, a=1).key
        session: Any = SessionVerbs(hooked(session_store)(key), run)
        with override_settings(SESSION_SAVE_EVERY_REQUEST=use == "every-request"):
            FIRST_USES[use](session)
        assert session.session.calls.count("load") == 1

    @for_each(
        "use",
        ["read", "login", "cycle_key"],
    )
    def test_what_load_returns_is_the_session(
        self,
        session_store: type[DriverSessionStore],
        open_session: Open,
        run: Run | None,
        use: str,
    ) -> None:
        key = saved(open_session, a=1).key
        session: Any = SessionVerbs(hooked(session_store)(key), run)
        FIRST_USES[use](session)
        assert session.get("migrated") is True

    @for_each("is_read", [True, False], ids=["read", "unread"])
    def test_flush_calls_delete(
        self,
        session_store: type[DriverSessionStore],
        open_session: Open,
        run: Run | None,
        *,
        is_read: bool,
    ) -> None:
        key = saved(open_session, a=1).key
        session: Any = SessionVerbs(hooked(session_store)(key), run)
        if is_read:
            session.get("a")
        session.flush()
        assert "delete" in session.session.calls
        assert open_session().exists(key) is False

    def test_a_response_calls_save(
        self, session_store: type[DriverSessionStore], open_session: Open, run: Run | None
    ) -> None:
        session: Any = SessionVerbs(hooked(session_store)(saved(open_session, a=1).key), run)
        session["a"] = 2
        assert session.respond() is CookieAnswer.SET
        assert session.session.calls.count("save") == 1

    def test_what_an_overridden_encode_returns_is_the_stored_payload(
        self,
        session_store: type[DriverSessionStore],
        open_session: Open,
        run: Run | None,
        driver: DriverVerbs,
    ) -> None:
        store = coded(session_store)
        session = SessionVerbs(store(), run)
        session["color"] = "blue"
        session["size"] = "XL"
        session.save()
        assert b"color~blue|size~XL" in bytes(stored(driver, session).payload)
        assert SessionVerbs(store(session.key), run).entries() == {"color": "blue", "size": "XL"}

    def test_overlaps_merge_what_an_overridden_decode_returns(
        self,
        session_store: type[DriverSessionStore],
        open_session: Open,
        run: Run | None,
        driver: DriverVerbs,
    ) -> None:
        store = coded(session_store)
        session = SessionVerbs(store(), run)
        session.update({"a": "0", "b": "0"})
        session.save()
        first, second = (SessionVerbs(store(session.key), run) for _ in range(2))
        first["a"], second["b"] = "1", "1"
        first.save()
        second.save()
        found = SessionVerbs(store(session.key), run)
        assert found.entries() == {"a": "1", "b": "1"}
        assert b"a~1|b~1" in bytes(stored(driver, session).payload)

    def test_djangos_own_encode_is_not_what_is_stored(
        self, open_session: Open, driver: DriverVerbs
    ) -> None:
        session = saved(open_session, a=1)
        signed = session.session.encode({"a": 1}).encode()
        assert signed not in bytes(stored(driver, session).payload)

    def test_get_session_cookie_age_is_the_idle_timeout(
        self,
        session_store: type[DriverSessionStore],
        open_session: Open,
        run: Run | None,
        clock: Clock,
    ) -> None:
        class SessionStore(session_store):  # type: ignore[misc, valid-type]  # the law's engine
            def get_session_cookie_age(self) -> int:
                return 600

        session = SessionVerbs(SessionStore(), run)
        session["a"] = 1
        session.save()
        assert session.deadlines().idle_deadline_at == clock.now + timedelta(seconds=600)
        clock.advance(600)
        assert SessionVerbs(SessionStore(session.key), run).entries() == {}

    def test_get_session_cookie_age_may_read_the_session(
        self, session_store: type[DriverSessionStore], clock: Clock
    ) -> None:
        class SessionStore(session_store):  # type: ignore[misc, valid-type]  # the law's engine
            def get_session_cookie_age(self) -> int:
                return 1200 if self.get("is_remembered") else 600

        session: Any = SessionStore()
        session["is_remembered"] = True
        session.save()
        clock.advance(900)
        assert SessionStore(session.session_key)["is_remembered"] is True
