"""Reads and writes the tables of events, tallies and tags."""
