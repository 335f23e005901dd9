"""What happens to repositories, for whoever wants to know. Sent within the transaction.

Each signal brings `actor`, the user who did it, or None where a program did.
"""

from django.dispatch import Signal

repository_created = Signal()  # repository, actor
repository_deleted = Signal()  # repository, actor
policy_created = Signal()  # policy, actor
policy_updated = Signal()  # policy, actor
policy_deleted = Signal()  # policy, actor
