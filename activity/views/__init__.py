"""The site's pages that show events, tags and policies."""
