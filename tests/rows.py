"""What one row of a table leaves to the next, where one test goes through them all."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import pytest
from django import conf
from django.test import override_settings
from pytest_django import Settings

from django_multisession.testing.rows import Test


def restoring(test: Test) -> Test:
    """Undo what *test* does to the settings and by ``monkeypatch``, each time it's called.

    It stands below `for_each`.
    """

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with contextlib.ExitStack() as stack:
            for name, value in kwargs.items():
                if isinstance(value, Settings):
                    kwargs[name] = RowSettings(stack)
                elif isinstance(value, pytest.MonkeyPatch):
                    kwargs[name] = stack.enter_context(pytest.MonkeyPatch.context())
            test(*args, **kwargs)

    return run


class RowSettings:
    """Django's settings, as the fixture `settings` has them; *stack* undoes what is set."""

    _stack: contextlib.ExitStack

    def __init__(self, stack: contextlib.ExitStack) -> None:
        object.__setattr__(self, "_stack", stack)

    def __getattr__(self, name: str) -> Any:
        return getattr(conf.settings, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._stack.enter_context(override_settings(**{name: value}))

    def __delattr__(self, name: str) -> None:
        self._stack.enter_context(override_settings())
        delattr(conf.settings, name)
