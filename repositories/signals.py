"""Signals, sent in the transaction of a change. For the user who makes it, see `accounts.current_request`."""

from django.dispatch import Signal

policy_changed = Signal()
"""Sent with `policy`, `verb` ("create", "update" or "delete") and `changes` (see `utils.diff`).

It is sent after a policy is created or updated, and before it is deleted.
"""
