"""The site for WSGI servers."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

# Serves the style sheet too: nobody runs collectstatic for a demonstration.
application = StaticFilesHandler(get_wsgi_application())
