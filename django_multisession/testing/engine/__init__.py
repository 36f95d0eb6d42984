"""The laws of an engine: start at `contract`."""
