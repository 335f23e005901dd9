"""Records events: turns drafts into events, and finds or registers their repositories."""
