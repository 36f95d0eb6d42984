"""What is published: it is whole, it installs, and its metadata says what is tested."""

from __future__ import annotations

import email
import importlib.metadata
import json
import os
import re
import tarfile
import uuid
import zipfile
from collections.abc import Iterable
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Any

import django
import pytest
from servers import MongoServer, RedisServer

import django_multisession
from tests.conftest import Running
from tests.installing import (
    ROOT,
    Distributions,
    Environment,
    IndexUnavailable,
    build_distributions,
    pyproject,
)

PACKAGE = Path(django_multisession.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Where the documentation is published.
ADDRESS = pyproject()["project"]["urls"]["Documentation"]

#: What the package does where it is installed, whatever Python and Django run the tests.
once = pytest.mark.once
pytestmark = pytest.mark.long


# Versions


def version_of(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def in_order(versions: Iterable[str]) -> list[str]:
    return sorted(set(versions), key=version_of)


def classified(framework: str) -> list[str]:
    """Return the versions ("3.11") of Python, or of Django, that the classifiers name."""
    beginning = re.escape(f"{framework} :: ")
    classifiers = pyproject()["project"]["classifiers"]
    return [
        name[1] for text in classifiers if (name := re.fullmatch(beginning + r"(\d+\.\d+)", text))
    ]


#: Environments of tox have it, and no machine of the project has yet.
NOT_RUN_YET = ["3.14"]
PYTHONS = [*classified("Programming Language :: Python"), *NOT_RUN_YET]
DJANGOS = classified("Framework :: Django")


def pairs_of_tox() -> list[tuple[str, str]]:
    """Return Python and Django of every environment of tox that tests a pair of them."""
    names = [re.fullmatch(r"py(\d)(\d+)-django(\d)(\d)", name) for name in tox()["env_list"]]
    return [(f"{name[1]}.{name[2]}", f"{name[3]}.{name[4]}") for name in names if name]


def tox() -> dict[str, Any]:
    configured: dict[str, Any] = pyproject()["tool"]["tox"]
    return configured


def test_the_classifiers_name_versions_oldest_first() -> None:
    assert PYTHONS
    assert in_order(PYTHONS) == PYTHONS
    assert DJANGOS
    assert in_order(DJANGOS) == DJANGOS


def test_every_version_has_environments_and_only_those_that_ran_are_classified() -> None:
    assert in_order(python for python, _ in pairs_of_tox()) == PYTHONS
    assert in_order(version for _, version in pairs_of_tox()) == DJANGOS


def test_the_installed_django_is_tested_on_every_python_that_both_support() -> None:
    installed = ".".join(map(str, django.VERSION[:2]))
    says = importlib.metadata.metadata("django")
    beginning = "Programming Language :: Python :: "
    supported = {
        name.removeprefix(beginning)
        for name in says.get_all("Classifier") or []
        if name.startswith(beginning)
    }
    pairs = [python for python, version in pairs_of_tox() if version == installed]
    assert in_order(pairs) == [python for python in PYTHONS if python in supported]


@pytest.mark.parametrize(("python", "version"), pairs_of_tox())
def test_an_environment_of_tox_installs_the_django_of_its_name(python: str, version: str) -> None:
    name = f"py{python.replace('.', '')}-django{version.replace('.', '')}"
    assert tox()["env"][name]["deps"] == [f"django~={version}.0"]


def test_every_environment_of_tox_is_run_by_default() -> None:
    assert sorted(tox()["env"]) == sorted(tox()["env_list"])


def test_the_oldest_versions_are_required() -> None:
    project = pyproject()["project"]
    assert project["requires-python"] == f">={PYTHONS[0]}"
    assert f"django>={DJANGOS[0]}" in project["dependencies"]


def test_the_code_is_checked_for_the_oldest_python() -> None:
    target = pyproject()["tool"]["ruff"]["target-version"]
    assert target == f"py{PYTHONS[0].replace('.', '')}"


def test_the_readme_tells_the_versions_that_are_tested() -> None:
    *earlier, last = DJANGOS
    *_, newest = classified("Programming Language :: Python")
    assert f"Python {PYTHONS[0]} to {newest}, Django {', '.join(earlier)} and {last}" in README
    page = (ROOT / "docs/project/upgrading.md").read_text(encoding="utf-8")
    assert re.findall(r"environments of Python (\d\.\d+) haven't run yet", page) == NOT_RUN_YET
    assert set(re.findall(r"Python ≥ (\d+\.\d+)", README)) <= {PYTHONS[0]}


def test_the_supported_pairs_are_those_that_are_tested() -> None:
    page = (ROOT / "docs/project/upgrading.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\.\d) \| ([\d., ]+) \|$", page, re.MULTILINE)
    documented = {(python, version) for version, pythons in rows for python in pythons.split(", ")}
    assert documented == set(pairs_of_tox())


def test_ci_looks_for_the_pythons_of_the_newest_django_newest_first() -> None:
    looked_for = re.search(r"for version in ([\d. ]+);", (ROOT / ".ci/run").read_text())
    assert looked_for is not None
    of_newest = in_order(python for python, version in pairs_of_tox() if version == DJANGOS[-1])
    assert looked_for[1].split() == of_newest[::-1]


def test_the_changelog_has_a_place_for_the_version() -> None:
    changelog = (ROOT / "docs/changelog.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[?([\w.]+)", changelog, re.MULTILINE)
    assert first is not None
    assert first[1] in {"Unreleased", django_multisession.__version__}


# What is in the wheel and the sdist


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    directory = tmp_path_factory.getbasetemp()
    # Of all workers, whose own directories are in it.
    shared = directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory
    try:
        return build_distributions(shared / "distributions")
    except IndexUnavailable as error:
        if os.environ.get("MULTISESSION_REQUIRE_SERVERS") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def metadata(distributions: Distributions) -> Message:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_string(wheel.read(name).decode())


def in_wheel(distributions: Distributions) -> set[PurePosixPath]:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        return set(map(PurePosixPath, wheel.namelist()))


def in_sdist(distributions: Distributions) -> set[PurePosixPath]:
    with tarfile.open(distributions.sdist) as sdist:
        return {PurePosixPath(*PurePosixPath(name).parts[1:]) for name in sdist.getnames()}


def of_package() -> set[PurePosixPath]:
    """Return the files of the package, as they lie in the repository."""
    return {
        PurePosixPath(path.relative_to(PACKAGE.parent).as_posix())
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@once
def test_the_wheel_is_the_package_and_its_metadata(distributions: Distributions) -> None:
    packed = in_wheel(distributions)
    dist_info = f"django_multisession-{django_multisession.__version__}.dist-info"
    assert {path for path in packed if path.parts[0] != dist_info} == of_package()
    assert PurePosixPath(dist_info, "licenses/LICENSE") in packed


@once
@pytest.mark.parametrize(
    "name", ["py.typed", "middleware.py", "management/commands/clearsessions.py"]
)
def test_the_wheel_has_what_no_import_would_miss(distributions: Distributions, name: str) -> None:
    assert PurePosixPath("django_multisession", name) in in_wheel(distributions)


@once
def test_the_sdist_has_what_builds_tests_and_documents_the_package_and_nothing_else(
    distributions: Distributions,
) -> None:
    packed = in_sdist(distributions)
    assert {path.parts[0] for path in packed} == {
        ".ci",
        ".gitignore",  # hatchling puts it in
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "django_multisession",
        "docs",
        "hatch_build.py",
        "pyproject.toml",
        "testproject",
        "tests",
    }
    assert of_package() <= packed


@once
def test_the_metadata_tells_what_pyproject_says(metadata: Message) -> None:
    project = pyproject()["project"]
    assert metadata["Name"] == "django-multisession"
    assert metadata["Version"] == django_multisession.__version__
    assert metadata["Requires-Python"] == project["requires-python"]
    assert metadata["License-Expression"] == project["license"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert set(metadata.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])


@once
def test_every_link_of_the_description_is_under_the_address_of_the_documentation(
    metadata: Message,
) -> None:
    assert metadata.get_all("Project-URL") == [f"Documentation, {ADDRESS}"]
    description = metadata.get_payload()
    assert isinstance(description, str)
    targets = re.findall(r"\]\(([^)]*)\)|(?:src|srcset)=\"([^\"]*)\"", description)
    paths = ["".join(target).removeprefix(ADDRESS) for target in targets]
    assert len(paths) == README.count("](") + 2
    # The pages and the pictures that Sphinx makes, under their names in the repository.
    sources = [re.sub(r"\.html\b", ".md", path).replace("_images/", "images/", 1) for path in paths]
    assert all((ROOT / "docs" / source.partition("#")[0]).is_file() for source in sources)
    for source, path in zip(sources, paths, strict=True):
        description = description.replace(f"{ADDRESS}{path}", f"docs/{source}")
    assert description == README


def test_a_released_version_has_an_address() -> None:
    changelog = (ROOT / "docs/changelog.md").read_text(encoding="utf-8")
    is_released = f"\n## {django_multisession.__version__}" in changelog
    assert not (is_released and ".invalid/" in ADDRESS)
    assert not (is_released and "Nothing is released yet" in README)


@once
def test_no_server_library_is_required_without_its_extra(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    assert [text for text in required if "extra ==" not in text] == pyproject()["project"][
        "dependencies"
    ]


# Installed, outside the repository


@pytest.fixture(scope="session")
def bare(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, without extras."""
    environment = Environment(tmp_path_factory.mktemp("bare"), distributions.requirements)
    environment.install(str(distributions.wheel))
    return environment


@pytest.fixture(scope="session")
def with_extras(
    distributions: Distributions, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """The sdist, with the library of every server, and mypy."""
    environment = Environment(tmp_path_factory.mktemp("extras"), distributions.requirements)
    environment.install(f"{distributions.sdist}[memcached,mongodb,redis]", "mypy")
    return environment


@once
def test_without_extras_sessions_live_in_memory(bare: Environment) -> None:
    walked = bare.run("-W", "error", "walk.py")
    assert walked.returncode == 0, walked.stderr
    assert json.loads(walked.stdout) == {
        "version": django_multisession.__version__,
        "drivers": [],
    }


@once
@pytest.mark.parametrize("command", ["check", "makemigrations --check --dry-run"])
def test_without_extras_django_has_nothing_to_say(bare: Environment, command: str) -> None:
    checked = bare.run("-W", "error", "-m", "django", *command.split())
    assert checked.returncode == 0, checked.stderr


@once
def test_the_installed_clearsessions_is_ours(bare: Environment) -> None:
    told = bare.run("-W", "error", "-m", "django", "clearsessions", "--help")
    assert "--max-seconds" in told.stdout


@once
@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        ("redis", {"MULTISESSION_REDIS": {"URL": "redis://127.0.0.1:1/0"}}),
        ("mongodb", {"MULTISESSION_MONGODB": {"URI": "mongodb://127.0.0.1:1/"}}),
        ("cookie", {}),
        ("memcached", {"MULTISESSION_MEMCACHED": {"SERVERS": ["127.0.0.1:1"]}}),
    ],
)
def test_a_missing_extra_is_named(bare: Environment, engine: str, settings: dict[str, Any]) -> None:
    walked = bare.run("walk.py", engine=engine, **settings)
    assert walked.returncode == 1
    assert walked.stderr.splitlines()[-1] == (
        "django.core.exceptions.ImproperlyConfigured: "
        f"Install django-multisession[{engine}] to use this engine."
    )


@once
def test_with_its_extra_sessions_live_in_redis(
    with_extras: Environment, newest_redis: RedisServer
) -> None:
    at = {"URL": newest_redis.url, "KEY_PREFIX": f"{uuid.uuid4().hex}:"}
    walked = with_extras.run("-W", "error", "walk.py", engine="redis", MULTISESSION_REDIS=at)
    assert walked.returncode == 0, walked.stderr
    assert "redis" in json.loads(walked.stdout)["drivers"]


@once
def test_with_its_extra_sessions_live_in_redis_by_a_cache_of_django_redis(
    with_extras: Environment, newest_redis: RedisServer
) -> None:
    caches = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": newest_redis.url}}
    walked = with_extras.run(
        "walk.py",
        engine="redis",
        CACHES=caches,
        MULTISESSION_REDIS={"CACHE_ALIAS": "default", "KEY_PREFIX": f"{uuid.uuid4().hex}:"},
    )
    assert walked.returncode == 0, walked.stderr
    assert "django_redis" in json.loads(walked.stdout)["drivers"]


@once
def test_with_its_extra_sessions_live_in_mongodb(
    with_extras: Environment, mongodb_standalone: MongoServer
) -> None:
    at = {"URI": mongodb_standalone.url, "DATABASE": f"installed_{uuid.uuid4().hex}"}
    walked = with_extras.run("-W", "error", "walk.py", engine="mongodb", MULTISESSION_MONGODB=at)
    assert walked.returncode == 0, walked.stderr
    assert json.loads(walked.stdout)["drivers"] == ["pymongo"]


@once
def test_with_its_extra_sessions_live_in_memcached(
    with_extras: Environment, running_servers: Running
) -> None:
    at = {"SERVERS": [running_servers.memcached().url], "KEY_PREFIX": f"{uuid.uuid4().hex}:"}
    walked = with_extras.run(
        "-W", "error", "walk.py", engine="memcached", MULTISESSION_MEMCACHED=at
    )
    assert walked.returncode == 0, walked.stderr
    assert json.loads(walked.stdout)["drivers"] == ["pymemcache"]


@once
def test_mypy_knows_the_types_of_the_installed_package(
    with_extras: Environment, tmp_path: Path
) -> None:
    judged = with_extras.run("-m", "mypy", "--strict", f"--cache-dir={tmp_path}", "typed.py")
    assert judged.returncode == 0, judged.stdout + judged.stderr


@once
def test_mypy_refuses_what_the_installed_package_does_not_take(
    with_extras: Environment, tmp_path: Path
) -> None:
    program = (
        "from django_multisession.drivers.memory import MemoryDriver\nMemoryDriver().delete(7)"
    )
    cache = f"--cache-dir={tmp_path}"
    judged = with_extras.run("-m", "mypy", "--strict", cache, "-c", program)
    assert 'Argument 1 to "delete" of "SlotsDriver" has incompatible type "int"' in judged.stdout
