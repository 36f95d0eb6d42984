"""One session in one request: an explicit state (`state`), and the steps that move it."""
