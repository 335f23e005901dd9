"""Where events come from: registries, other producers, and this application itself."""
