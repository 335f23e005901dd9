"""Reads and writes the tables of events, counts and tags."""
