"""The views of the site, with one module per kind of page."""
