"""Sending a save, and finding out what became of one whose answer nobody heard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime

from django_multisession import conversation, signals
from django_multisession.adding import Adding
from django_multisession.conversation import Steps
from django_multisession.kept import Kept, Sent
from django_multisession.merge import Merge
from django_multisession.reading import Opened
from django_multisession.records import Answer, Outcome, Reason, Tombstone


class Settling(Adding):
    """The steps of one save over a stored record."""

    def _is_stored_as(self, base: Kept) -> bool:
        """Is *base* what this session knows to be stored, or that but for a touch?"""
        return self._kept is not None and self._kept.record.revision == base.record.revision

    def _send(self, sent: Sent, now: datetime) -> Steps[Answer]:
        old_key, new_key = sent.base.key.storage_key, sent.target.key.storage_key
        record, base = sent.composed.record, sent.base.record
        # Noted first: who is cancelled hears nothing, and another coroutine may not wait for it.
        self._unheard = sent
        if sent.target.is_moved:
            reason = Reason.LOGIN if sent.is_login else Reason.MOVED
            left = Tombstone(record.revision, reason, new_key)
            answer = yield from conversation.move(old_key, new_key, record, base, left, now)
        else:
            answer = yield from conversation.replace(old_key, record, base, now)
        if self._unheard is sent:
            self._unheard = None
        return answer

    def _finish_update(self, sent: Sent, merges: list[Merge]) -> None:
        target, base, composed = sent.target, sent.base, sent.composed
        own, is_login, is_cleared = self._own_key(), self._is_login, self._is_cleared
        self._finish_write(composed)
        # What was done since it was sent is still to be saved.
        self._is_cleared = is_cleared and not sent.is_cleared
        given = (base.key.storage_key, target.key.storage_key)
        if own is not None and own.storage_key not in given:
            # The session got yet another key: by a login, perhaps.
            self._use_key(own)
            self._is_login = is_login
        else:
            self._use_key(composed.key)
            self._is_login = is_login and not sent.is_login
        self._is_key_untold = self._is_key_untold or target.is_moved
        storage_key = composed.key.storage_key
        if target.is_moved:
            self._note(
                signals.session_cycled,
                storage_key=storage_key,
                old_storage_key=base.key.storage_key,
                user_id=composed.record.user_id,
                reason="login" if sent.is_login else "requested",
            )
        if merges:
            self._note(
                signals.session_merged,
                storage_key=storage_key,
                resolved_entries=_names(merge.resolved for merge in merges),
                lost_entries=_names(merge.lost for merge in merges),
            )

    def _settle(self, unheard: Sent, merges: list[Merge]) -> Steps[None]:
        """Find out what became of *unheard*: it is made once, or not at all, and gone on from."""
        sent = self._as_used_now(unheard)
        answer = yield from self._send(sent, self._now())
        others: Opened | None = None
        if answer.outcome is not Outcome.SAVED:
            self._unheard = self._unheard or sent
            found = yield from self._find(sent.base.key)
            if self._unheard in (unheard, sent):
                self._unheard = None
            if not (isinstance(found, Opened) and found.kept.record.holds(sent.composed.record)):
                # It was not made and comes too late by now, or the session has ended since.
                return
            others = found
        if not self._is_stored_as(sent.base):
            # Another coroutine of this request was first.
            return
        self._finish_update(sent, [])
        # It may have been made long ago.
        self._is_confirmed = False
        if others is not None:
            # They went on from it.
            merged = self._merge(others)
            if others.kept.record.revision != sent.composed.record.revision:
                merges.append(merged)

    def _as_used_now(self, sent: Sent) -> Sent:
        """Return *sent* with the last use that is known now: it must not move back."""
        known = [sent.composed.record.touched_at]
        if self._kept is not None:
            known.append(self._kept.record.touched_at)
        if self.counts_as_use:
            known.append(self._now())
        record = dataclasses.replace(sent.composed.record, touched_at=max(known))
        composed = dataclasses.replace(sent.composed, record=record)
        return dataclasses.replace(sent, composed=composed)


def _names(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))
