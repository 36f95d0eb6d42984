"""The table of `engines.database`: add this app to ``INSTALLED_APPS`` and run ``migrate``."""
