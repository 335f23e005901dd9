"""Filters, sorts, searches, counts and exports events."""
