"""Permissions, by a model without a table."""
