"""The laws of requests that overlap: start at `contract`."""
