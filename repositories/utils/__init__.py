"""Generic code that does not depend on this application."""
