"""User accounts: preferences, access tokens, passwords, and the user of the current request."""
