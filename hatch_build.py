"""The description on a package index: the README, with absolute links.

An index shows the README without the repository around it. The address is that of the published
documentation, ``project.urls.Documentation`` in pyproject.toml, and nothing else names it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class AbsoluteLinks(MetadataHookInterface):
    """Sets the field ``readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """See MetadataHookInterface.update()."""
        address = metadata["urls"]["Documentation"]
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        # Sphinx collects the pictures of all pages in one folder.
        text = text.replace('"docs/images/', f'"{address}_images/')
        text = re.sub(r"\]\(docs/([\w/-]+)\.md", rf"]({address}\1.html", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
