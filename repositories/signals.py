"""Signals about repositories and policies. They are sent within the transaction.

They don't include the user: see `accounts.current_request`.
"""

from django.dispatch import Signal

repository_created = Signal()  # repository
repository_deleted = Signal()  # repository
policy_created = Signal()  # policy, changes: see `policies.changes.changes_between`
policy_updated = Signal()  # policy, changes
policy_deleted = Signal()  # policy, changes; sent before the policy is deleted
