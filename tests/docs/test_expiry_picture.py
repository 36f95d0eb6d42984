"""The picture of a session's life shows what would happen, to everybody."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from django_multisession.core import lifetime
from django_multisession.core.records import to_datetime, to_milliseconds
from django_multisession.testing.rows import for_each
from tests.docs.pages import DOCS, text_of

PICTURE = DOCS / "images/expiry-timeline.svg"
SVG = "{http://www.w3.org/2000/svg}"
IDLE_TIMEOUT, ABSOLUTE_TIMEOUT = timedelta(hours=2), timedelta(hours=8)


def moments_in(group: str, kind: str) -> list[tuple[datetime, float]]:
    """Return when and where each mark of *kind* in *group* stands."""
    root = ET.parse(PICTURE).getroot()
    marks = root.findall(f"./{SVG}g[@id='{group}']/{SVG}{kind}[@data-at]")
    return [
        (
            datetime.strptime(mark.attrib["data-at"], "%H:%M").replace(tzinfo=UTC),
            float(mark.attrib.get("cx") or mark.attrib["x1"]),
        )
        for mark in marks
    ]


@for_each("group", ["left-alone", "kept-in-use"])
def test_a_session_in_the_picture_ends_when_it_would(group: str) -> None:
    uses = moments_in(group, "circle")
    ((ends_at, _),) = moments_in(group, "line")
    policy = lifetime.Policy(
        idle_timeout=IDLE_TIMEOUT, absolute_timeout=ABSOLUTE_TIMEOUT, absolute_is_configured=True
    )
    began_ms = to_milliseconds(uses[0][0])
    life = lifetime.life(policy, None, began_ms=began_ms, is_anonymous=False)
    for (earlier, _), (later, _) in pairwise(uses):
        assert later < to_datetime(life.ends_ms(to_milliseconds(earlier)))
    assert to_datetime(life.ends_ms(to_milliseconds(uses[-1][0]))) == ends_at
    text = " ".join(ET.parse(PICTURE).getroot().itertext())
    assert f"ends {ends_at:%H:%M}" in text
    for page_text in (text, text_of("explanation/expiry.md")):
        assert f"{ends_at:%H:%M}" in page_text


@for_each("group", ["left-alone", "kept-in-use"])
def test_everything_in_the_picture_stands_where_its_hour_is(group: str) -> None:
    nine = datetime(1900, 1, 1, 9, tzinfo=UTC)
    for at, x in [*moments_in(group, "circle"), *moments_in(group, "line")]:
        assert x == 60 + 85 * (at - nine) / timedelta(hours=1)


def test_the_picture_can_be_read_in_the_dark_and_by_who_does_not_see_it() -> None:
    root = ET.parse(PICTURE).getroot()
    assert root.attrib["role"] == "img"
    named = [root.find(f"{SVG}title"), root.find(f"{SVG}desc")]
    assert [each is not None and each.attrib["id"] for each in named] == root.attrib[
        "aria-labelledby"
    ].split()
    assert "prefers-color-scheme: dark" in PICTURE.read_text(encoding="utf-8")
    linked = re.search(
        r"!\[([^\]]+)\]\(\.\./images/expiry-timeline\.svg\)", text_of("explanation/expiry.md")
    )
    assert linked is not None
    assert len(linked[1]) > 100
