"""What ``set_expiry()`` left in a session, and moments as Django means them."""

from __future__ import annotations

import contextlib
import math
from datetime import datetime

from django.utils import timezone

from django_multisession.core import lifetime

#: The entry in which Django keeps it.
EXPIRY_ENTRY = "_session_expiry"


def aware(moment: datetime) -> datetime:
    """Return *moment* as Django means it where ``USE_TZ`` is off: in the default time zone.

    Not in the current one: ``timezone.activate()`` must not move our clock.
    """
    if timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())


def custom_expiry(value: object) -> lifetime.Custom:
    """Return what ``set_expiry()`` left in a session; what it cannot have left counts as nothing."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return aware(datetime.fromisoformat(value))
    if isinstance(value, datetime):
        return aware(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        # Away from 0, which means something else.
        return math.ceil(value) if value > 0 else math.floor(value)
    return value if isinstance(value, int) else None
