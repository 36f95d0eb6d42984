"""How Sphinx builds these pages: ``sphinx-build -W --keep-going -n -b html docs OUT``.

Nothing is fetched: links to Django's documentation are plain URLs.
"""

# ruff: noqa: INP001  (Sphinx executes this file; nothing imports it)

from __future__ import annotations

from django_multisession import __version__

project = "django-multisession"
author = "the django-multisession contributors"
release = version = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
# Links to "page.md#a-heading", as GitHub makes them.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
