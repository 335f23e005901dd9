"""What happened in the registry: recording it, and showing each event to those who may see it."""
