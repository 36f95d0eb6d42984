"""The site for ASGI servers."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

# Serves the style sheet too: nobody runs collectstatic for a demonstration.
application = ASGIStaticFilesHandler(get_asgi_application())
