"""What happens to repositories, for whoever wants to know. Sent within the transaction.

`acting` tells who does it.
"""

from django.dispatch import Signal

repository_created = Signal()  # repository
repository_deleted = Signal()  # repository
policy_created = Signal()  # policy, changes: see `policies.changes.changes_between`
policy_updated = Signal()  # policy, changes
policy_deleted = Signal()  # policy, changes; sent before it goes
