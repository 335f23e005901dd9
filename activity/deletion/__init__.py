"""Auto-deletion: what may go (rules, holds), and the runs that remove it, archived first if so set."""
