"""Checks whether everything works. The admin's front page, commands and monitors read the same checks."""
