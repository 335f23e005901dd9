"""Access control: levels, grants, and the permissions that result from them."""
