"""I9: the limit of a user's sessions holds, ends no session but those beyond it, and keeps no one out.

Where ``MULTISESSION_MAX_SESSIONS`` is set:

- When all requests are over, no user has more live sessions than allowed. Where logins end sessions,
  and an answer was lost or a verb canceled, a user may until the next login is over.
- A login ends sessions of its user only, and only those that had as many before them as are allowed, in
  the order of the policy, when the login last listed them: itself included. A denied one ends and
  stores nothing.
- A login is denied only if its user had all allowed sessions at some moment, and never while its
  client is logged in.
- When all requests are over, the user's next login succeeds, unless it is to be denied because the
  user has all allowed sessions. After a lost answer or a canceled verb it may have to wait a minute.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from django_multisession.core.limits import DENY, OLDEST
from django_multisession.settings.conf import config
from tests.exhaustive.site import MINUTE
from tests.exhaustive.store import LISTS, Call, Content, Effect, Store
from tests.exhaustive.verbs import LISTED, MARK, USER, Ghost

if TYPE_CHECKING:
    from tests.exhaustive.laws import Login, Seen

#: For so long a login counts as one that was under way with a later one.
UNDER_WAY_MS = 60_000


class LimitLaws:
    """Judges what logins do where the sessions of a user are limited.

    Args:
        store: What they do it to.
        first_keys: Storage keys of the sessions that the requests come with.
        log_in: Has a further client log in to a state of the store at a time; returns what that
            raised, and the state after it.
    """

    def __init__(
        self,
        store: Store,
        first_keys: frozenset[str],
        log_in: Callable[[int, float], tuple[str, int]],
    ) -> None:
        self._store, self._first_keys, self._log_in = store, first_keys, log_in
        # A number: the search has no function here.
        self._most: Any = config().max_sessions
        self._is_denying = config().at_limit == DENY

    @property
    def is_on(self) -> bool:
        return self._most is not None

    def after_call(
        self,
        seen: Seen,
        who: int,
        call: Call,
        effect: Effect,
        ghost: Ghost,
        seconds: float,
        *,
        before: int,
    ) -> tuple[Seen, list[str]]:
        """Return *seen* with a call of *who*, and which laws that breaks."""
        if self._most is None:
            return seen, []
        seen = self._with_filled(seen, before, seconds)
        if call.verb in LISTS and ghost.marks:
            is_first_page = call.arguments[2:3] == ("",)
            first = () if is_first_page else seen.listed[who][:1]
            listed = (*seen.listed[:who], (*first, (before, seconds)), *seen.listed[who + 1 :])
            seen = seen.but(listed=listed)
        if ghost.ending is not None or ghost.is_ending or not effect.gone:
            return seen, []
        broken = [law for each in effect.gone for law in self._of_gone(seen, who, each)]
        ended = frozenset((each.series, each.user_id) for each in effect.gone)
        return seen.but(ended_of_user=seen.ended_of_user | ended), broken

    def _with_filled(self, seen: Seen, state: int, seconds: float) -> Seen:
        counts = self._counts(state, seconds)
        filled = {user for user, count in counts.items() if count >= self._most}
        return seen if filled <= seen.filled else seen.but(filled=seen.filled | filled)

    def _of_gone(self, seen: Seen, who: int, ended: Content) -> Iterator[str]:
        own = next((login for login in reversed(seen.logins) if login.who == who), None)
        if own is None:
            yield "I9 a request ends a session, and was not asked to"
        elif own.mark == ended.entries.get(MARK) and _is_revoked(seen, ended):
            pass  # all sessions of the user were ended
        elif own.user_id != ended.user_id:
            yield f"I9 a login of user {own.user_id!r} ends a session of user {ended.user_id!r}"
        elif self._is_denying:
            yield "I9 a login ends a session where logins are denied"
        elif not self._is_beyond_limit(seen, who, own, ended):
            yield "I9 a login ends a session that isn't beyond the limit"

    def _is_beyond_limit(self, seen: Seen, who: int, own: Login, ended: Content) -> bool:
        def rank(content: Content) -> tuple[bool, int, bytes]:
            is_spared = content.began_ms > own.began_ms - UNDER_WAY_MS
            is_by_login = is_spared or config().at_limit == OLDEST
            return (
                is_spared,
                content.began_ms if is_by_login else content.touched_ms,
                content.series,
            )

        # Each may have been read at the first page or at the last.
        ranks = collections.defaultdict(list)
        for state, seconds in seen.listed[who]:
            for each in self._store.live(state, seconds):
                if each.user_id == own.user_id:
                    ranks[each.series].append(rank(each))
        if ended.series not in ranks:
            return False
        at = min(ranks.pop(ended.series))
        return bool(sum(max(other) > at for other in ranks.values()) >= self._most)

    def of_denial(
        self, seen: Seen, ghost: Ghost, state: int, seconds: float
    ) -> tuple[Seen, list[str]]:
        """Return *seen* with a login of *ghost* that was denied, and which laws that breaks."""
        broken, user = [], dict(ghost.last).get(USER)
        if self._most is None or not self._is_denying:
            broken.append("I9 a login is denied where logins end sessions")
        if any(login.mark in ghost.marks[-1:] for login in seen.logins):
            broken.append("I9 a login is denied and stored")
        if not ghost.is_elsewhere and any(
            each.key in self._first_keys and each.user_id == user
            for each in self._store.live(state, seconds)
        ):
            broken.append("I9 a login is denied while its client is logged in")
        return seen.but(denied=seen.denied | {user}), broken

    def at_end(self, seen: Seen, state: int, seconds: float) -> Iterator[str]:
        """Yield which laws the store breaks when no request is left."""
        if self._most is None or seen.has_rollback:
            return
        is_exact = self._is_denying or not seen.has_faults
        if is_exact and any(n > self._most for n in self._counts(state, seconds).values()):
            yield "I9 a user has more sessions than allowed when all requests are over"
        if not seen.has_faults and seen.denied - self._with_filled(seen, state, seconds).filled:
            yield "I9 a login is denied, and its user had room at every moment"
        # A login that was cut off holds its seat for a minute.
        seconds += MINUTE if seen.has_faults else 0
        has_room = self._counts(state, seconds)[LISTED] < self._most
        error, after = self._log_in(state, seconds)
        if error != ("" if has_room or not self._is_denying else "SessionLimitReached"):
            yield f"I9 the next login of the user {f'raises {error}' if error else 'succeeds'}"
        if self._counts(after, seconds)[LISTED] > self._most:
            yield "I9 a user has more sessions than allowed after the next login"

    def _counts(self, state: int, seconds: float) -> collections.Counter[str]:
        live = (each.user_id for each in self._store.live(state, seconds))
        return collections.Counter(user for user in live if user is not None)


def _is_revoked(seen: Seen, login: Content) -> bool:
    """Did an end of all sessions of its user begin after *login*?"""
    ends = (*seen.ends, *(end for end in seen.begun if end is not None))
    return any(
        end.user_id == login.user_id and login.authenticated_ms < end.began_ms for end in ends
    )
