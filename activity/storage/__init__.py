"""Reads and writes the event, tally and tag tables."""
