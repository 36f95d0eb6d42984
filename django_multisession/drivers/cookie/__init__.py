"""The driver of the cookie engine."""
