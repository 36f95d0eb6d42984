"""Sessions in Redis: start at `driver`."""
