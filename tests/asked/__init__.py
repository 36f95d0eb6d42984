"""Being asked again, remembered and warned before the end."""
