"""Sessions in MongoDB: start at `driver`."""
