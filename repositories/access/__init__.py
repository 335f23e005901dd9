"""Who may do what: levels, grants, and what they resolve to."""
