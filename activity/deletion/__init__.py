"""Auto-deletion: the rules and holds that determine which events to delete, and the runs that delete them."""
