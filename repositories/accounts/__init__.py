"""Users' accounts: the current request's user, preferences, tokens, passwords."""
