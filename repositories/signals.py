"""What happens to repositories, for whoever wants to know. Sent within the transaction.

Each signal brings `actor`, the user who did it, or None where a program did.
"""

from django.dispatch import Signal

repository_created = Signal()  # repository, actor
repository_deleted = Signal()  # repository, actor
policy_created = Signal()  # policy, actor, changes: see `policies.changes.changes_between`
policy_updated = Signal()  # policy, actor, changes
policy_deleted = Signal()  # policy, actor, changes; sent before it goes
