"""What ``manage.py demo --check`` does over HTTP, done by clicking."""

from __future__ import annotations

import pytest
import shop.walk

from tests.browser.clicked_walk import STEPS, ClickedWalk
from tests.browser.conftest import NewVisitor
from tests.browser.shops import Shop, Shops


@pytest.mark.release
def test_every_step_of_the_walk_holds_for_a_person_who_clicks(
    shop: Shop, new_visitor: NewVisitor
) -> None:
    walk = ClickedWalk(shop, new_visitor)
    for title, check in STEPS.items():
        print(f"at “{title}”")  # noqa: T201  (pytest shows it where a step fails)
        check(walk)


def test_the_clicked_walk_leaves_no_step_of_the_walk_out() -> None:
    assert list(STEPS) == [step.title for step in shop.walk.STEPS]


@pytest.mark.long
def test_the_shop_on_another_engine_is_a_link_away_with_a_session_of_its_own(
    shops: Shops, new_visitor: NewVisitor
) -> None:
    redis, mongodb = shops.get("redis"), shops.get("mongodb")
    visitor = new_visitor(redis)
    visitor.open()
    visitor.add("Notebook")
    here = visitor.page.get_by_role("navigation").locator("[aria-current]")
    assert here.text_content() == redis.title

    visitor.follow(mongodb.title)

    assert visitor.page.url == mongodb.url
    assert here.text_content() == mongodb.title
    assert visitor.shown().cart == {}
    visitor.follow(redis.title)
    assert visitor.shown().cart == {"Notebook": 1}
