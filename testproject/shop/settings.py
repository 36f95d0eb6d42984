"""Settings of the demonstration site. For a look at sessions, not for anything that is public."""

from __future__ import annotations

from datetime import timedelta

from shop.environment import ABSOLUTE_TIMEOUT, IDLE_TIMEOUT, Environment

ENVIRONMENT = Environment.read()

# Anybody can read this key here. Whoever knows a site's key can sign session keys for it.
SECRET_KEY = "django-insecure-demonstration-only-never-copy-this-key-to-a-real-site"  # noqa: S105
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

# --- what this demonstration is about ---------------------------------------------------------
SESSION_ENGINE = ENVIRONMENT.engine_module
MULTISESSION_REDIS = {"URL": ENVIRONMENT.redis_url}
MULTISESSION_MONGODB = {"URI": ENVIRONMENT.mongodb_uri, "DATABASE": "multisession_demo"}
MULTISESSION_COOKIE = {"REVOCATION": "django_multisession.engines.redis"}
MULTISESSION_MEMCACHED = {"SERVERS": [ENVIRONMENT.memcached_server]}
MULTISESSION_TIERED = {
    "FRONT": "django_multisession.engines.redis",
    "BACK": "django_multisession.engines.mongodb",
}
MULTISESSION_IDLE_TIMEOUT = IDLE_TIMEOUT
MULTISESSION_ABSOLUTE_TIMEOUT = ABSOLUTE_TIMEOUT
# What the page of a user's sessions calls a browser.
MULTISESSION_RECORD_USER_AGENT = True
MULTISESSION_RECORD_ADDRESS = "truncated"
# So that a reload is seen to begin the idle time anew; the default saves more writes.
MULTISESSION_TOUCH_INTERVAL = timedelta(seconds=2)
# ----------------------------------------------------------------------------------------------

# The page with the form.
LOGIN_URL = "sync:overview"

# Each password is its user's name. A slow hash would protect nothing and delay every login.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Cookies are not kept apart by port: sites that run side by side need names of their own.
_SITE = ENVIRONMENT.engine.rpartition(".")[2]
SESSION_COOKIE_NAME = f"sessionid_{_SITE}"
CSRF_COOKIE_NAME = f"csrftoken_{_SITE}"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

INSTALLED_APPS = [
    "shop",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_multisession",
    "django_multisession.session_admin",
    # Not django.contrib.sessions: its table is for engines.database alone.
    "django_multisession.database",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django_multisession.middleware.SessionMiddleware",
    # The admin and the page of a user's sessions speak more than English.
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
STATIC_URL = "static/"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ENVIRONMENT.database,
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL",
            "transaction_mode": "IMMEDIATE",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": f"[{_SITE}] %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        # Several sites share a terminal: warnings are told, not every request.
        "django": {"handlers": ["console"], "level": "WARNING"},
        "django.server": {"handlers": ["console"], "level": "ERROR", "propagate": False},
    },
}
