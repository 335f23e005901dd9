"""Policies of repositories: models, criteria for tags, templates for tags, forms, and change tracking."""
