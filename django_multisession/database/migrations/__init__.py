"""Of the table `Session`."""
