"""``{% load multisession %}``."""
