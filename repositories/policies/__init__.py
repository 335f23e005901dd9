"""Policies of repositories: fields per kind, criteria for tags, forms, and change tracking."""
