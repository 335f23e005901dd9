"""Access to the tables of events, tallies and tags."""
