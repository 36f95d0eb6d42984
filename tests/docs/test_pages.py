"""The pages are whole: links lead somewhere, lists are complete, and every block of code is run."""

from __future__ import annotations

import re
from collections.abc import Callable

from django_multisession.settings.rules.renames import RENAMED
from django_multisession.testing.rows import for_each
from tests.docs import (
    test_admin,
    test_asked_again,
    test_audit_log,
    test_devices_page,
    test_limit_sessions,
    test_move_from_session_apps,
    test_overlapping_requests,
    test_production_settings,
    test_rotate_secret_key,
    test_separate_tenants,
    test_show_devices,
    test_shown_commands,
    test_shown_configuration,
    test_shown_settings,
    test_shown_tests,
    test_shown_views,
    test_tutorial,
)
from tests.docs.pages import PAGES, ROOT, Block, blocks

#: Which module runs which blocks; the first that says so does.
RUNNERS: list[Callable[[Block], bool]] = [
    test_tutorial.runs,
    test_devices_page.runs,
    test_admin.runs,
    test_production_settings.runs,
    test_overlapping_requests.runs,
    test_rotate_secret_key.runs,
    test_separate_tenants.runs,
    test_asked_again.runs,
    test_audit_log.runs,
    test_limit_sessions.runs,
    test_show_devices.runs,
    test_move_from_session_apps.runs,
    test_shown_tests.runs,
    test_shown_settings.runs,
    test_shown_views.runs,
    test_shown_commands.runs,
    test_shown_configuration.runs,
]


@for_each("block", blocks())
def test_every_block_of_code_is_run_by_a_test(block: Block) -> None:
    assert any(runs(block) for runs in RUNNERS), f"{block} ({block.language}): say which file it is"


@for_each("page", sorted(PAGES))
def test_every_link_leads_to_a_file(page: str) -> None:
    path = PAGES[page]
    missing = [
        link
        for link, _ in _links(page)
        if "://" not in link and link and not (path.parent / link).resolve().is_file()
    ]
    assert missing == []


@for_each("page", sorted(PAGES))
def test_every_link_into_a_page_leads_to_a_heading(page: str) -> None:
    path = PAGES[page]
    missing = []
    for link, heading in _links(page):
        target = (path.parent / link).resolve() if link else path
        if heading and "://" not in link and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            if heading not in {_anchor(text) for text in headings}:
                missing.append(f"{link}#{heading}")
    assert missing == []


def test_every_image_is_there() -> None:
    images = re.findall(r'(?:src|srcset)="([^"]+)"', PAGES["README.md"].read_text())
    assert len(images) == 2
    assert [image for image in images if not (ROOT / image).is_file()] == []


def test_every_page_is_in_the_index() -> None:
    index = PAGES["docs/index.md"].read_text()
    pages = sorted(
        page.removeprefix("docs/").removesuffix(".md")
        for page in PAGES
        if page.startswith("docs/") and page != "docs/index.md"
    )
    in_the_contents = re.findall(r"^([a-z]+(?:/[a-z-]+)?)$", index, re.MULTILINE)
    assert sorted(in_the_contents) == pages
    linked = re.findall(r"\]\(([a-z/-]+)\.md\)", index)
    assert sorted(set(linked)) == pages


def test_every_how_to_is_found_from_the_readme() -> None:
    assert "[all others](docs/index.md#how-to-guides)" in PAGES["README.md"].read_text()


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].read_text().splitlines()) <= 150


def test_every_setting_is_in_the_reference() -> None:
    known = {
        name
        for source in (ROOT / "django_multisession").rglob("*.py")
        for name in re.findall(r'"(MULTISESSION_[A-Z_]+[A-Z])"', source.read_text())
        if name not in RENAMED
    }
    documented = headings_of("docs/reference/settings.md", r"MULTISESSION_\w+")
    assert sorted(known) == sorted(documented)


def test_every_setting_named_anywhere_exists() -> None:
    known = set(headings_of("docs/reference/settings.md", r"MULTISESSION_\w+"))
    for page, path in PAGES.items():
        named = set(re.findall(r"\b(MULTISESSION_[A-Z_]+[A-Z])\b", path.read_text()))
        # A variable of the tests' environment, not a setting.
        unknown = (
            named
            - known
            - RENAMED.keys()
            - {"MULTISESSION_REQUIRE_SERVERS", "MULTISESSION_REDIS_SERVER"}
        )
        assert unknown == set(), page


def test_every_check_is_in_the_reference_and_no_page_names_another() -> None:
    known = {
        number
        for source in (ROOT / "django_multisession").rglob("*.py")
        for number in re.findall(r'"(?:multisession\.)?([EWI]\d{3})"', source.read_text())
    }
    documented = [
        name.removeprefix("multisession.")
        for name in headings_of("docs/reference/checks.md", r"multisession\.\w+")
    ]
    assert sorted(known) == sorted(documented)
    for page, path in PAGES.items():
        named = set(re.findall(r"`multisession\.([EWI]\d{3})`", path.read_text()))
        assert named <= known, page


def test_ci_runs_the_readmes_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*", PAGES["README.md"].read_text(), re.MULTILINE)
    assert [command.split(".venv/bin/")[-1].split()[0] for command in commands] == [
        "python",
        "pytest",
    ]
    ci = (ROOT / ".ci/run").read_text()
    assert "of_readme pytest" in ci
    assert "of_readme 'manage.py demo'" in ci


def headings_of(page: str, name: str) -> list[str]:
    """Return the names of *page* that have a heading, and so an anchor, of their own."""
    return re.findall(rf"^### `({name})`$", PAGES[page].read_text(), re.MULTILINE)


def _links(page: str) -> list[tuple[str, str]]:
    """Return every link of *page*, without what stands in blocks of code: target and heading."""
    text = re.sub(r"^```.*?^```$", "", PAGES[page].read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text)


def _anchor(heading: str) -> str:
    """Return the anchor that GitHub and MyST make of *heading*."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
