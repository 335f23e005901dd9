"""Recording events: drafts, the repositories that they refer to, and their insertion."""
