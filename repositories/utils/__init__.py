"""Generic code that knows nothing of this application."""
