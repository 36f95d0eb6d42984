"""What a save stores: this request's entries, over or merged with what is stored, as a record."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from django.views.decorators.debug import sensitive_variables

from django_multisession import codec, merge, sealing, signals
from django_multisession.conf import config
from django_multisession.interruption import SessionEnded
from django_multisession.kept import Kept, Target
from django_multisession.merge import Merge
from django_multisession.reading import Opened, Reading
from django_multisession.records import Record, new_revision
from django_multisession.session_state import Standing


class Composing(Reading):
    """What is to be stored; no I/O."""

    # The resolvers below are the site's, and error pages show what their frames hold.
    @sensitive_variables()
    def _merge(self, found: Opened | None) -> Merge:
        """Take another save's record as the one to write over, and its entries but for ours.

        Not so where that save changed whose session it is.
        """
        if found is None or not (self._is_login or self._has_same_owner(found)):
            raise self._interrupted()
        mine, before = self._entries(), self._before()
        if self._is_cleared:
            made = merge.replaced(before, found.entries, mine, self._fingerprint)
        else:
            resolvers = config().resolvers
            made = merge.merged(before, found.entries, mine, self._fingerprint, resolvers)
            ours = made.entries
            if self._is_login:
                ours = ours | merge.auth_entries(mine)
            # In place: somebody may hold the dict.
            dict.clear(mine)
            dict.update(mine, ours)
        self._kept = found.kept
        return made

    def _has_same_owner(self, theirs: Opened) -> bool:
        before = merge.auth_entries(self._before())
        after = merge.auth_entries(theirs.entries)
        return (
            self._kept is not None
            and self._kept.record.began_at == theirs.kept.record.began_at
            and merge.are_same(before, after, self._fingerprint)
        )

    def _before(self) -> dict[str, object]:
        """Return the entries as they were stored when this request last read or wrote them."""
        return codec.deserialize(self._kept.serialized if self._kept else b"", self.serializer())

    def _compose(self, target: Target, now: datetime) -> Kept:
        """Make the record to store at *target*."""
        conf, key, base = config(), target.key, target.base
        entries = self._entries()
        serialized = codec.serialize(entries, self.serializer())
        # Only what grew under it: a limit that was lowered leaves stored sessions in use.
        if base is None or serialized != base.serialized:
            codec.require_size(serialized, entries, self.serializer(), conf.max_size)
        before = base.record if base else None
        began_at = now if before is None or self._is_login else before.began_at
        life = self._life(entries, began_at)
        record = Record(
            payload=b"",
            revisions=new_revision(before.revisions if before else ()),
            created_at=before.created_at if before else now,
            began_at=began_at,
            touched_at=_touched_at(before, now, is_use=self.counts_as_use),
            idle_age=life.idle_age,
            hard_deadline_at=life.hard_deadline_at,
            user_id=merge.user_id(entries),
        )
        payload = sealing.seal(
            codec.compress(serialized),
            sealing.Binding.of(key.storage_key, record),
            conf.sealing_keys,
        )
        return Kept(key, dataclasses.replace(record, payload=payload), serialized)

    def _interrupted(self) -> SessionEnded:
        """Note that this request's changes cannot be saved; return what tells its code."""
        own = self._own_key()
        if self._kept is not None:
            own = self._kept.key
        self._forget_record(Standing.ENDED)
        if own is not None:
            self._note(signals.session_interrupted, storage_key=own.storage_key)
        return SessionEnded()


def _touched_at(base: Record | None, now: datetime, *, is_use: bool) -> datetime:
    """Return the last use to store; the clocks of two processes must not move it back."""
    if base is None:
        return now
    return max(base.touched_at, now) if is_use else base.touched_at
