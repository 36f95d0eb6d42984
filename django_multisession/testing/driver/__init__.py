"""The laws of a driver: start at `contract`."""
