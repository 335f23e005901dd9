"""Generic code that doesn't depend on the models of this app."""
