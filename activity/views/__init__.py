"""The pages of the site that show events, and tags and tokens."""
