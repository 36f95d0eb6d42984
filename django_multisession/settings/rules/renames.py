"""What settings were called before."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

#: Old name → new name.
RENAMED: Final = MappingProxyType(
    {
        "MULTISESSION_ANONYMOUS_TIMEOUT": "MULTISESSION_ANONYMOUS_IDLE_TIMEOUT",
        "MULTISESSION_CYCLE_ON_LOGIN": "MULTISESSION_ALWAYS_CYCLE_ON_LOGIN",
        "MULTISESSION_RESOLVERS": "MULTISESSION_CONFLICT_RESOLVERS",
    }
)
