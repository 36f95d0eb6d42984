"""What the security page says of comparing tags."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from django_multisession.core import keys, signing
from django_multisession.testing.rows import for_each


@for_each("verify", [keys.verify, signing.verify])
def test_tags_are_compared_in_constant_time(verify: Any) -> None:
    tree = ast.parse(inspect.getsource(verify))
    compared = [
        {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
    ]
    assert not any("tag" in names for names in compared)
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "hmac.compare_digest" in called
