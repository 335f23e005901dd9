"""The site's views, with one module per kind of page."""
