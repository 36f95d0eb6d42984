"""The reference says what the code says: names, tables, numbers.

What a response gets, and what stock Django does, is played in `tests.web`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from django.conf import global_settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.dispatch import Signal

import django_multisession
from django_multisession import exceptions, middleware, resolvers, signals, user_changes
from django_multisession import testing as contracts
from django_multisession.core import keys, records
from django_multisession.core.problems import Problem, Severity
from django_multisession.drivers import base, log_lines
from django_multisession.drivers.base import Capabilities, Driver, Enumerable, Indexed, Purging
from django_multisession.drivers.mongodb import documents as mongodb_documents
from django_multisession.drivers.mongodb.server import INDEXES
from django_multisession.engines.memory import SessionStore
from django_multisession.session import end, events, save, state, steps
from django_multisession.session.limit import LIMIT
from django_multisession.session.line import MOST_HOPS, REVOKED
from django_multisession.session.store import MOST_OTHER_KEYS
from django_multisession.settings.check_ids import Check
from django_multisession.testing.driver.fixtures import make_record
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions import recording
from tests.docs.pages import PAGES, code, rows_of, section_of, text_of
from tests.wire.test_round_trips import TABLE

PACKAGE = Path(django_multisession.__file__).parent

# The driver contract

CONTRACT = "reference/driver-contract.md"
OVERLAPPING = "explanation/overlapping-requests.md"
LIMITS = "explanation/limits.md"
WORDS = {4: "four", 5: "five", 6: "six"}


def verbs_of(protocol: type) -> Iterator[tuple[str, str]]:
    """Yield each verb as it is called, and what it answers; a twin goes with its verb."""
    public = {
        name: verb
        for name, verb in vars(protocol).items()
        if inspect.isfunction(verb) and not name.startswith("_")
    }
    for name, verb in public.items():
        if not (name[0] == "a" and name[1:] in public):
            signature = inspect.signature(verb)
            parameters = list(signature.parameters.values())[1:]
            taken = ", ".join(map(spelled, parameters))
            answer = str(signature.return_annotation)
            if answer.startswith("Steps["):
                answer = answer[len("Steps[") : -1]
            yield f"{name}({taken})", answer


def spelled(parameter: inspect.Parameter) -> str:
    """Return *parameter* as it is written, without the marks of its kind."""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {parameter.annotation}{default}"


def test_the_verbs_of_a_driver_are_those_of_the_protocol() -> None:
    documented = [
        (code(verb), code(answer)) for verb, answer in rows_of(section_of(CONTRACT, "## Verbs"))
    ]
    assert documented == list(verbs_of(Driver))


def test_the_verbs_that_a_driver_may_lack_are_those_of_the_protocols() -> None:
    documented = [
        (code(verb), code(answer))
        for verb, answer in rows_of(section_of(CONTRACT, "## Optional verbs"))
    ]
    assert documented == [*verbs_of(Purging), *verbs_of(Enumerable), *verbs_of(Indexed)]


@for_each(
    ("section", "protocols"),
    [("## Verbs", [Driver]), ("## Optional verbs", [Purging, Enumerable, Indexed])],
)
def test_every_verb_of_a_driver_has_its_heading(section: str, protocols: list[type]) -> None:
    headings = re.findall(r"^### `(\w+)`$", section_of(CONTRACT, section), re.MULTILINE)
    verbs = [verb for protocol in protocols for verb, _answer in verbs_of(protocol)]
    assert headings == [verb.partition("(")[0] for verb in verbs]


@for_each("value", [records.Record, records.Tombstone, records.Answer, Problem, Capabilities])
def test_the_fields_of_a_value_are_those_of_its_class(value: Any) -> None:
    section = section_of(CONTRACT, "## Values", f"### `{value.__name__}`")
    # A table has twelve rows at most.
    tables = range(2 if value is records.Record else 1)
    rows = [row for number in tables for row in rows_of(section, number)]
    documented = [(code(name), code(kind)) for name, kind, _means in rows]
    assert documented == [
        (name, getattr(kind, "__forward_arg__", kind))
        for name, kind in value.__annotations__.items()
    ]


def test_the_offsets_of_a_record_are_those_of_the_code() -> None:
    rows = rows_of(section_of(CONTRACT, "## Bytes"))
    documented = {what: int(offset) for offset, _bytes, what in rows}
    assert documented == {
        "mark, version, kind": 0,
        "end": records.ENDS_AT,
        "last use": records.USED_AT,
        "signature": records.USED_AT + 8,
        "revision": records.REVISION_AT,
        "earlier revisions": records.REVISION_AT + records.REVISION_LENGTH,
        "length of the header": records.HEADER_AT - 4,
        "the header, then the payload": records.HEADER_AT,
    }


def test_the_reasons_of_a_tombstone_are_those_of_the_code() -> None:
    rows = rows_of(section_of(CONTRACT, "## Values", "### `Reason`"))
    assert [code(name) for name, _means in rows] == [reason.value for reason in records.Reason]


def test_the_suites_that_hold_a_driver_to_its_contract_are_all_named() -> None:
    rows = rows_of(section_of(CONTRACT, "## What holds a driver to it"))
    suites = {name for name in contracts.__all__ if name.endswith("Contract")}
    assert {code(name) for name, _holds in rows} == suites


@for_each(
    ("page", "phrase"),
    [
        (CONTRACT, f"{records.REVISIONS_KEPT} random tokens"),
        (CONTRACT, f"plus {records.EXPIRY_SLACK.seconds} seconds"),
        (CONTRACT, f"a tombstone for {records.TOMBSTONE_TIMEOUT.seconds} seconds"),
        (
            "reference/glossary.md",
            f"{keys.LENGTH} characters: {keys._RANDOM_LENGTH} random ones and {keys._TAG_LENGTH}",
        ),
        ("reference/exceptions.md", f"for {save.SAVE_PATIENCE:g} seconds"),
        ("reference/glossary.md", f"{MOST_HOPS} keys at most"),
        (OVERLAPPING, f"for {save.SAVE_PATIENCE:g} seconds"),
        (OVERLAPPING, f"{steps.LONGEST_PAUSE:g} seconds at most"),
        (LIMITS, f"for {state.RESPONSE_TIME_MS // 1000} second after"),
        ("explanation/outages.md", f"for {WORDS[state.OUTAGE_PATIENCE_MS // 1000]} seconds"),
        ("reference/middleware.md", f"the first {WORDS[MOST_OTHER_KEYS + 1]} *signed* ones"),
        ("reference/middleware.md", f"`Retry-After: {middleware.RETRY_AFTER}`"),
        ("reference/middleware.md", f"`{middleware.OUTAGE_TEMPLATE}`"),
    ],
)
def test_a_number_in_the_reference_is_that_of_the_code(page: str, phrase: str) -> None:
    assert phrase in text_of(page)


# What requests cost


def test_the_round_trips_shown_are_those_that_are_counted() -> None:
    rows = rows_of(section_of("explanation/performance.md", "## Round trips"))
    counted = [[row.request, str(row.stock), str(row.ours)] for row in TABLE]
    assert rows == counted
    of_readme = re.findall(
        r"^\| round trips: (?:a )?([\w ]+) \| (\d) \| (\d) \|$",
        PAGES["README.md"].read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(of_readme) == 3
    assert all([*row] in counted for row in of_readme)


# The architecture

ARCHITECTURE = "explanation/architecture.md"


def test_every_module_of_a_session_is_in_the_architecture() -> None:
    rows = rows_of(section_of(ARCHITECTURE, "## Layers"), 1)
    documented = {name for modules, _does in rows for name in re.findall(r"`(\w+)`", modules)}
    assert documented == {path.stem for path in PACKAGE.glob("session/[!_]*.py")}


def test_every_state_of_a_session_is_in_the_architecture() -> None:
    section = section_of(ARCHITECTURE, "## One frozen state")
    diagram = section[section.index("```") : section.rindex("```")]
    pairs = re.findall(r"^(\w+) --|> (\w+)", diagram, re.MULTILINE)
    documented = {name for pair in pairs for name in pair if name}
    assert documented == {each.__name__ for each in get_args(state.State)}


# The system checks


def test_every_check_of_the_settings_is_documented() -> None:
    page = text_of("reference/checks.md")
    documented = set(re.findall(r"^### `(multisession\.\w+)`", page, re.MULTILINE))
    of_servers = {each for each in documented if re.search(r"\.[EW]1[0134]\d$", each)}
    assert documented - of_servers == {check.id for check in Check}


@for_each("check", Check)
def test_the_letter_of_a_check_is_its_severity(check: Check) -> None:
    letter = {Severity.ERROR: "E", Severity.WARNING: "W", Severity.INFO: "I"}[check.severity]
    assert check.id.startswith(f"multisession.{letter}")


# Exceptions, log lines, the session's API

EXCEPTIONS = "reference/exceptions.md"


def test_every_exception_is_documented_with_what_else_it_is() -> None:
    ours = [
        each
        for each in vars(exceptions).values()
        if inspect.isclass(each)
        and issubclass(each, Exception)
        and each.__module__.startswith(django_multisession.__name__)
    ]
    expected = {each.__name__: {base.__name__ for base in each.__bases__} for each in ours}
    expected["SessionEnded"] = {UpdateError.__name__, SessionInterrupted.__name__}
    section = section_of(EXCEPTIONS, "## Exceptions")
    shown = re.findall(
        r"^### `(\w+)`\n(?:[^#]|#[a-z])*^Also a: (.*?)\. Raised by: ", section, re.MULTILINE
    )
    documented = {name: set(re.findall(r"`(\w+)`", also_a)) for name, also_a in shown}
    assert documented == expected


def test_every_kind_of_outage_is_documented() -> None:
    rows = rows_of(section_of(EXCEPTIONS, "## Kinds of outage"))
    assert [code(name) for name, _means in rows] == [kind.name for kind in exceptions.OutageKind]


def logged() -> Iterator[tuple[str, str, str]]:
    """Yield logger, level and message of every call of a logger in the package."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=name), attr=level),
                    args=[ast.Constant(value=str(message)), *_],
                ) if name.endswith("logger"):
                    logger = getattr(importlib.import_module(module), name).name
                    yield logger, level.replace("exception", "error"), message
    for line in (
        base.UNREADABLE,
        events.SOURCE_FAILURE,
        events.DROPPED,
        events.UNNOTED_USE,
        events.CUT_SHORT,
        events.LIMIT_NOT_KEPT,
        user_changes.NOT_ENDED,
        recording.NO_ADDRESS,
    ):
        yield described(line)
        if line.limit is not None and line.limit.is_counted:
            yield described(dataclasses.replace(line, text=log_lines.LEFT_OUT))


def described(line: log_lines.Line) -> tuple[str, str, str]:
    """Return logger, level and message of *line*."""
    return line.logger.name, logging.getLevelName(line.level).lower(), line.text


def lines_of(rows: list[list[str]]) -> list[tuple[str, str, str]]:
    """Return logger, level and message of each row; they are its last cells."""
    return sorted((code(logger), level, code(message)) for *_, logger, level, message in rows)


def told(at_least: int) -> Iterator[tuple[str, str, str]]:
    """Yield logger, level and message of what is told by a signal too."""
    for line in (*events.LINES.values(), events.OLD_COOKIE):
        if line.level >= at_least:
            yield described(line)


def test_every_log_line_is_documented() -> None:
    section = section_of(EXCEPTIONS, "## Log lines")
    # A table has twelve rows at most.
    assert lines_of([*rows_of(section), *rows_of(section, 1)]) == sorted(logged())
    assert lines_of(rows_of(section, 2)) == sorted(told(logging.INFO))


def test_what_the_session_has_beyond_djangos_is_documented() -> None:
    beyond = {name for name in dir(SessionStore) if not name.startswith("_")} - {*dir(SessionBase)}
    section = section_of(EXCEPTIONS, "## What `request.session` has beyond Django's")
    # A table has twelve rows at most.
    rows = [*rows_of(section), *rows_of(section, 1)]
    documented = {
        code(cell).partition("(")[0]
        for name, twin, _is in rows
        for cell in (name, twin)
        if cell != "none"
    }
    assert documented == beyond - {"modified"}


def test_what_is_djangos_and_different_is_djangos_and_ours() -> None:
    section = section_of(EXCEPTIONS, "## What `request.session` has beyond Django's")
    for cell, _difference in rows_of(section, 2):
        for name in re.findall(r"`(\w+)(?:\(\))?`", cell):
            ours = inspect.getattr_static(SessionStore, name)
            assert name == "modified" or hasattr(SessionBase, name)
            assert ours is not inspect.getattr_static(SessionBase, name, None)


# Signals

SIGNALS = "reference/signals.md"


def arguments_shown() -> dict[str, set[str]]:
    """Return the name of every signal that has a heading, with the arguments below it."""
    section = section_of(SIGNALS, "## The signals")
    shown = re.findall(r"^### `(\w+)`\n(?:[^#]|#[a-z])*^Arguments: (.*)\.$", section, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", arguments)) for name, arguments in shown}


def test_every_signal_is_documented_with_its_line() -> None:
    lines = rows_of(section_of(SIGNALS, "## Log lines"))
    named = {code(name): lines_of([row]) for name, *row in lines}
    declared = {name: each for name, each in vars(signals).items() if isinstance(each, Signal)}
    assert declared.keys() == named.keys()
    for name, signal in declared.items():
        assert named[name] == [described(events.LINES[signal])]
    assert named.keys() == arguments_shown().keys()


def noted() -> Iterator[tuple[str, set[str]]]:
    """Yield the name and the arguments of every signal that the package sends."""
    for path in PACKAGE.glob("session/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="note"),
                    args=[ast.Attribute(value=ast.Name(id="signals"), attr=name)],
                    keywords=keywords,
                ):
                    yield name, {str(keyword.arg) for keyword in keywords}


def test_every_signal_is_documented_with_its_arguments() -> None:
    documented = arguments_shown()
    sent = list(noted())
    assert {name for name, _arguments in sent} == documented.keys()
    for name, arguments in sent:
        assert arguments == documented[name], name


def reasons_sent() -> Iterator[tuple[str, str]]:
    """Yield the name of every signal that has a reason, with each reason that is sent."""
    for path in PACKAGE.glob("session/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="note"),
                    args=[ast.Attribute(value=ast.Name(id="signals"), attr=name)],
                    keywords=keywords,
                ):
                    for value in (each.value for each in keywords if each.arg == "reason"):
                        yield from (
                            (name, str(constant.value))
                            for constant in ast.walk(value)
                            if isinstance(constant, ast.Constant)
                        )
    # Passed on by `line.end`.
    yield "session_ended", end.FLUSHED
    yield "session_ended", end.DELETED
    yield "session_ended", REVOKED
    yield "session_ended", LIMIT


def test_every_reason_of_a_signal_is_documented() -> None:
    rows = rows_of(section_of(SIGNALS, "## Reasons"))
    documented = {(code(name), code(reason).strip('"')) for name, reason, _means in rows}
    assert documented == set(reasons_sent())


def test_the_resolvers_that_come_along_are_documented() -> None:
    documented = {code(name) for name, _makes in rows_of(section_of(OVERLAPPING, "## Resolvers"))}
    assert documented == {*resolvers.__all__} - {"ABSENT", "Resolver"}


# Settings


def test_every_session_setting_of_djangos_is_documented_with_its_default() -> None:
    section = section_of("reference/settings.md", "## Django's settings")
    # A table has twelve rows at most.
    rows = [*rows_of(section), *rows_of(section, 1)]
    documented = {code(name): ast.literal_eval(code(default)) for name, default, _here in rows}
    assert documented == {
        name: getattr(global_settings, name)
        for name in dir(global_settings)
        if name.startswith("SESSION_")
    }


# Engines

ENGINES = "reference/engines.md"


def names_in(section: str) -> set[str]:
    return {code(row[0]) for row in rows_of(section)}


def test_the_fields_of_a_mongodb_document_are_documented() -> None:
    documented = names_in(section_of(ENGINES, "## MongoDB", "### What is stored"))
    (stage,) = mongodb_documents.saved(make_record(), 1)
    assert documented == {*stage["$replaceWith"], "is_tombstone"}


def test_the_indexes_of_mongodb_are_documented() -> None:
    rows = rows_of(section_of(ENGINES, "## MongoDB", "### Indexes"))
    documented = {code(name): options.strip("`") for name, options in rows}
    spelled = {
        ", ".join(fields): re.sub(r"'([$\w]+)':", r"\1:", str(how)[1:-1]).replace("'", '"')
        or "none"
        for fields, how in INDEXES.items()
    }
    assert documented == spelled


# The middleware


def test_the_methods_of_the_middleware_are_documented() -> None:
    own = {
        name
        for name, value in vars(middleware.SessionMiddleware).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    rows = rows_of(section_of("reference/middleware.md", "## Subclassing"))
    for call, _does in rows:
        name, _, parameters = code(call).rstrip(")").partition("(")
        signature = inspect.signature(getattr(middleware.SessionMiddleware, name))
        assert list(signature.parameters)[1:] == parameters.split(", ")
    assert {code(call).partition("(")[0] for call, _does in rows} == own
