"""Who owns what in the registry, and who may do what with it."""
