"""The pages of this application, a module for each kind."""
