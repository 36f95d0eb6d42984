"""What ``SESSION_ENGINE`` can name. Each engine exposes ``SessionStore`` and nothing else."""
