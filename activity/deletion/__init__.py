"""Auto-deletion: the rules and holds that decide what is deleted, and the runs that archive and delete it."""
