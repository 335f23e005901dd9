"""Who or what did something, and how they are called."""

from __future__ import annotations

from django.db import models

from repositories.models import Policy

MAX_ACTOR_LENGTH = 255


class ActorType(models.TextChoices):
    """Who or what did it."""

    USER = "user", "User"
    ANONYMOUS = "anonymous", "Anonymous"
    PROMOTION = Policy.Kind.PROMOTION.value, "Promotion policy"
    PRUNING = Policy.Kind.PRUNING.value, "Pruning policy"
    PUSH_MIRRORING = Policy.Kind.PUSH_MIRRORING.value, "Push mirroring policy"
    PULL_MIRRORING = Policy.Kind.PULL_MIRRORING.value, "Pull mirroring policy"
    MANUAL_PROMOTION = "manual_promotion", "Manual promotion"
    SYSTEM = "system", "System"


MANUAL_PROMOTION_NAME = "MANUAL_P"


THE_SCHEDULE, THE_COMMAND_LINE = PROGRAMS = ("the schedule", "the command line")
"""The actors of type SYSTEM: who acts where nobody is logged in."""


def label_of_actor(type: str, name: str) -> str:
    """Return the name of a user, the kind and id of a policy, or `PROMOTION MANUAL_P`."""
    if type == ActorType.USER:
        return name
    if type == ActorType.ANONYMOUS:
        return "anonymous"
    if type == ActorType.MANUAL_PROMOTION:
        return f"PROMOTION {name}"
    return f"{type.replace('_', ' ').upper()} {name}"


def actor_in(label: str) -> str:
    """Return the name of an actor, out of its label too: `7A4DC340` of `PROMOTION 7A4DC340`."""
    for type in set(ActorType) - {ActorType.USER, ActorType.ANONYMOUS}:
        label = label.removeprefix(label_of_actor(type, ""))
    return label
