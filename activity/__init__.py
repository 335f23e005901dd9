"""Records the events of container registries, and shows each event to the people who may see it."""
