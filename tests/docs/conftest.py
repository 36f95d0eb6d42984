"""The project of the tutorial."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.project import copied_project, made_project


@pytest.fixture(scope="session")
def tutorials_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that the tutorial makes, sessions in memory; not to be changed."""
    return made_project(tmp_path_factory.mktemp("tutorial"))


@pytest.fixture
def project(tutorials_project: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return copied_project(tutorials_project, tmp_path)
