"""The sources of events: registries, other producers, and this application itself."""
