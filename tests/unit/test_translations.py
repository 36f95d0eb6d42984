"""Every text of the pages is translated, and the compiled translations are those of the sources."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from gettext import GNUTranslations
from pathlib import Path
from string import Formatter

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from django.conf.global_settings import LANGUAGES as LANGUAGES_OF_DJANGO
from django.utils.translation import override, templatize, to_language

import django_multisession
from django_multisession.testing.rows import for_each
from django_multisession.user_sessions.pages import were_ended

PACKAGE = Path(django_multisession.__file__).parent
LANGUAGES = sorted(path.name for path in (PACKAGE / "locale").iterdir())
KEYWORDS: dict[str, tuple[int | tuple[int, str], ...] | None] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}

Id = tuple[str, ...]


def marked_in(path: Path) -> Iterator[tuple[Id, str | None]]:
    """Yield every text of a module or a template that is marked for translation, with its context."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        source = templatize(source)
    for _, text, _, context in extract("python", io.BytesIO(source.encode()), KEYWORDS):
        yield (text if isinstance(text, tuple) else (text,)), context


@functools.cache
def marked() -> set[tuple[Id, str | None]]:
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html")]
    return {found for path in files for found in marked_in(path)}


def catalog_of(language: str) -> Catalog:
    with (PACKAGE / "locale" / language / "LC_MESSAGES/django.po").open("rb") as source:
        return read_po(source)


def texts_of(message: Message) -> Id:
    return forms_of(message.id)


def forms_of(text: object) -> Id:
    """Return singular and plural of *text*, or the one form that it has."""
    return tuple(map(str, text)) if isinstance(text, tuple | list) else (str(text or ""),)


def translated(language: str) -> list[Message]:
    return [message for message in catalog_of(language) if message.id]


def test_the_documented_languages_are_there() -> None:
    assert LANGUAGES == ["de", "es", "fr", "it", "nl", "pl", "pt_BR"]
    # Those that Django has, by the names that it has for them.
    assert {to_language(each) for each in LANGUAGES} <= dict(LANGUAGES_OF_DJANGO).keys()


@for_each("language", LANGUAGES)
def test_every_text_is_translated_and_none_that_is_gone(language: str) -> None:
    found = {(texts_of(message), message.context) for message in translated(language)}
    assert found == marked()


@for_each("language", LANGUAGES)
def test_no_translation_is_empty_or_fuzzy(language: str) -> None:
    for message in translated(language):
        assert all(forms_of(message.string)), message.id
        assert not message.fuzzy, message.id


@for_each("language", LANGUAGES)
def test_a_translation_has_the_places_of_the_text(language: str) -> None:
    catalog = catalog_of(language)
    for message in translated(language):
        assert not list(message.check(catalog)), message.id
        texts, strings = texts_of(message), forms_of(message.string)
        assert len(strings) == (1 if len(texts) == 1 else catalog.num_plurals), message.id
        assert {frozenset(places_of(text)) for text in (*texts, *strings)} == {
            frozenset(places_of(texts[0]))
        }, message.id


@for_each(
    ("language", "count", "expected"),
    [
        ("de", 0, "0 Sitzungen wurden beendet."),
        ("de", 1, "1 Sitzung wurde beendet."),
        ("es", 1, "Se finalizó 1 sesión."),
        ("es", 1_000_000, "Se finalizaron 1000000 sesiones."),
        ("fr", 0, "0 session a été terminée."),
        ("fr", 2, "2 sessions ont été terminées."),
        ("it", 2, "2 sessioni sono state terminate."),
        ("nl", 1, "1 sessie is beëindigd."),
        ("pl", 0, "Zakończono 0 sesji."),
        ("pl", 1, "Zakończono 1 sesję."),
        ("pl", 12, "Zakończono 12 sesji."),
        ("pl", 22, "Zakończono 22 sesje."),
        ("pt-br", 0, "0 sessão foi encerrada."),
        ("pt-br", 5, "5 sessões foram encerradas."),
    ],
)
def test_a_count_has_the_form_of_its_language(language: str, count: int, expected: str) -> None:
    with override(language):
        assert were_ended(count) == expected


def places_of(text: str) -> set[str]:
    """Return the places of ``%(name)s`` and of ``{}`` in *text*."""
    names = set()

    class Names(dict[str, int]):
        def __getitem__(self, name: str) -> int:
            names.add(name)
            return 1

    _ = text % Names() if "%(" in text else ""
    return names | {str(field) for _, field, _, _ in Formatter().parse(text) if field is not None}


@for_each("language", LANGUAGES)
def test_the_compiled_translations_are_those_of_the_source(language: str) -> None:
    with (PACKAGE / "locale" / language / "LC_MESSAGES/django.mo").open("rb") as compiled:
        catalog = GNUTranslations(compiled)._catalog  # type: ignore[attr-defined]  # no public name
    expected: dict[object, object] = {}
    for message in translated(language):
        texts = texts_of(message)
        context = f"{message.context}\x04" if message.context else ""
        if len(texts) == 1:
            expected[context + texts[0]] = message.string
        else:
            expected |= {
                (context + texts[0], number): text
                for number, text in enumerate(forms_of(message.string))
            }
    assert {key: text for key, text in catalog.items() if key} == expected


def test_a_text_in_a_module_and_one_in_a_template_are_found(tmp_path: Path) -> None:
    module, template = tmp_path / "module.py", tmp_path / "template.html"
    module.write_text('gettext("one"); ngettext("%d two", "%d twos", 2)')
    template.write_text('{% load i18n %}{% translate "three" %}')
    assert [text for path in (module, template) for text, _ in marked_in(path)] == [
        ("one",),
        ("%d two", "%d twos"),
        ("three",),
    ]
