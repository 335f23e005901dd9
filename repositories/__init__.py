"""Ownership and access control of repositories: namespaces, organizations, teams, grants and policies."""
