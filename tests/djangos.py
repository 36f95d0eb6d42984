"""What lies in another place in another release of Django."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.utils.deprecation import MiddlewareMixin
else:
    try:
        # Django 6.2, where the import below is a deprecation.
        from django.middleware import MiddlewareMixin
    except ImportError:
        from django.utils.deprecation import MiddlewareMixin

__all__ = ["MiddlewareMixin"]
