"""One module per kind of server. Start reading at `base.Driver`."""
