"""Policies of repositories: what each kind needs, which tags it is for, and how they are edited."""
