"""The options of an engine's setting as those of a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_multisession.core.secret import SecretOptions

#: As clients call them.
_CREDENTIALS = {"USERNAME": "username", "PASSWORD": "password"}


def flat(options: Mapping[str, Any]) -> SecretOptions:
    """Return *options* with the client's own, in ``OPTIONS``, and the credentials beside the rest."""
    rest = {
        name: value for name, value in options.items() if name not in {"OPTIONS", *_CREDENTIALS}
    }
    credentials = {
        name: options[key] for key, name in _CREDENTIALS.items() if options.get(key) is not None
    }
    return SecretOptions({**rest, **options.get("OPTIONS", {}), **credentials})
