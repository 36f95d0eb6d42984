"""Sessions in a database of Django's: start at `driver`."""
