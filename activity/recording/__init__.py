"""Records events."""
