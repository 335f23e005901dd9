"""The types, names and labels of the actors of events."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from repositories.models import Policy
from repositories.names import is_reserved
from repositories.utils.text import visible_text

MAX_ACTOR_LENGTH = 255


class ActorType(models.TextChoices):
    """The type of an event's actor."""

    USER = "user", _("User")
    ANONYMOUS = "anonymous", _("Anonymous")
    UNNAMED = "unnamed", _("Unnamed account")
    PROMOTION = Policy.Kind.PROMOTION.value, _("Promotion policy")
    PRUNING = Policy.Kind.PRUNING.value, _("Pruning policy")
    PUSH_MIRRORING = Policy.Kind.PUSH_MIRRORING.value, _("Push mirroring policy")
    PULL_MIRRORING = Policy.Kind.PULL_MIRRORING.value, _("Pull mirroring policy")
    MANUAL_PROMOTION = "manual_promotion", _("Manual promotion")
    SYSTEM = "system", _("System")


MANUAL_PROMOTION_NAME = "MANUAL_P"

SCHEDULE_ACTOR, COMMAND_LINE_ACTOR = SYSTEM_ACTORS = ("the schedule", "the command line")
"""The names of the SYSTEM actors, which stand for scheduled tasks and management commands.

The name of the command line is followed by an account in the operating system: `the command line (jane)`.
"""


def label_of_actor(type: str, name: str) -> str:
    """Return the label of an actor. Invisible characters in its name are escaped.

    The label of a user whose name stands for something else says so: `USER anonymous` is a user of this name.
    Examples: `jane`, `anonymous`, `UNNAMED deploy_token`, `PUSH MIRRORING 7A4DC340`, `PROMOTION MANUAL_P`,
    `SYSTEM the schedule`.
    """
    name = visible_text(name)
    if type == ActorType.USER:
        return f"USER {name}" if is_reserved(name) else name
    if type == ActorType.ANONYMOUS:
        return "anonymous"
    if type == ActorType.MANUAL_PROMOTION:
        return f"PROMOTION {name}"
    return f"{type.replace('_', ' ').upper()} {name}"


def actor_name_from_label(label: str) -> str:
    """Return the name of an actor, given either its name or its label.

    For example, return `7A4DC340` for both `7A4DC340` and `PROMOTION 7A4DC340`.
    """
    if is_reserved(name := label.removeprefix("USER ")):
        return name
    for type in set(ActorType) - {ActorType.USER, ActorType.ANONYMOUS}:
        label = label.removeprefix(label_of_actor(type, ""))
    return label
