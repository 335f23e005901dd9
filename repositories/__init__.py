"""Repository ownership and access control: namespaces, organizations, teams, grants and policies."""
