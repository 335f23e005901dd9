"""Recording of events."""
