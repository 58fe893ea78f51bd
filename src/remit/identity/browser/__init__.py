"""People with a browser: signing in at a provider, and the sessions that follow."""
