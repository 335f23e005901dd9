"""Signals about changes. Each signal is sent in the same transaction as the change.

Receivers can use `accounts.current_request` to find out who made the change.
"""

from django.dispatch import Signal

policy_changed = Signal()
"""Signals a change to a policy. The arguments are `policy`, `verb` ("create", "update" or "delete")
and `changes` (see `utils.diff`).

It is sent after a policy is created or updated, and before a policy is deleted.
"""

sessions_ended = Signal()
"""Signals that somebody ended all sessions of a user. The arguments are `user` and `number`."""

user_unlocked = Signal()
"""Signals that somebody let a user log in again after too many wrong passwords. The argument is `user`."""

address_trusted = Signal()
"""Signals that somebody let a user log in from an address in spite of too many wrong passwords.

The arguments are `user` and `address`.
"""
