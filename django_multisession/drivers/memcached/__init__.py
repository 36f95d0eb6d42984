"""Sessions in memcached: start at `driver`."""
