"""Settings: `conf` reads them, `values` holds them, `rules` judge them and `checks` report."""
