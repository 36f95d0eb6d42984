"""Settings with which the shop could be public: `manage.py check --deploy` finds nothing in them.

``manage.py check --deploy --settings shop.production``. Every command needs the option. The
environment supplies what only this site knows: its secrets, its hosts, and the addresses of its
servers (`shop.environment`).
"""

from __future__ import annotations

import os
from datetime import timedelta

from django.conf import global_settings

from shop.settings import *  # noqa: F403  (the shop itself: its apps, URLs, templates, engine)

DEBUG = False
ALLOWED_HOSTS = os.environ.get("SHOP_HOSTS", "").split()

# --- secrets ----------------------------------------------------------------------------------
# Empty where an image is built, which has no secrets; Django serves nothing without one.
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "")
# What SECRET_KEY was before: still verified, and replaced at the next visit.
SECRET_KEY_FALLBACKS = os.environ.get("SHOP_SECRET_KEY_FALLBACKS", "").split()

# --- passwords --------------------------------------------------------------------------------
# Django's default. The demonstration hashes its public passwords quickly.
PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS

# --- sessions ---------------------------------------------------------------------------------
MULTISESSION_IDLE_TIMEOUT = timedelta(minutes=30)
MULTISESSION_ABSOLUTE_TIMEOUT = timedelta(hours=12)
# What the default would be; the demonstration's two seconds are for the eye.
MULTISESSION_TOUCH_INTERVAL = timedelta(minutes=1)
# No other host, no subdomain and no plain HTTP can set a cookie of such a name.
SESSION_COOKIE_NAME = "__Host-sessionid"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "__Host-csrftoken"
CSRF_COOKIE_SECURE = True

# --- HTTPS only -------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = True
# Browsers remember this for a year: begin with an hour, and with this host alone.
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
if os.environ.get("SHOP_IS_BEHIND_PROXY") == "1":
    # Only behind a proxy that sets this header itself: anybody else can send it too.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
