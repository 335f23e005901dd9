"""Repository policies: models, tag criteria, tag templates, forms and change tracking."""
