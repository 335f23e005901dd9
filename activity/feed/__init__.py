"""Reading events: filtering, sorting, searching, counting and exporting them."""
