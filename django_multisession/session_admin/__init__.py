"""The sessions of all users in Django's admin: ``"django_multisession.session_admin"`` as an app."""
