"""Checks of the registries: their accounts and clocks, and what they have sent that waits for a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext

from activity.health import programs
from activity.health.findings import Finding, State, duration_in_words, number_in_words
from activity.models import DeadLetter, Event, Registry, RegistryNode
from activity.sources.registries import may_add_events
from activity.storage import heartbeats, partitions
from repositories.access.levels import AUDITOR_PERMISSIONS, Category
from repositories.access.resolving import Access
from repositories.models import AccessToken, Namespace, Repository

MAX_DEAD_LETTERS = 1_000
"""The maximum number of dead letters to count."""
MAX_NAMED = 20
"""The maximum number of registries or nodes that a check names."""
MAX_NAMESPACES = 3
MAX_CLOCK_DIFFERENCE = timedelta(minutes=1)


def check_registries(now: datetime) -> Iterator[Finding]:
    """Find registries that are cut off, because their account can't deliver anything, or quiet."""
    valid = AccessToken.FOR_NOTIFICATIONS & (Q(expiry=None) | Q(expiry__gt=now))
    tokens = AccessToken.objects.filter(valid, user=OuterRef("account"))
    registries = Registry.objects.select_related("account").annotate(
        has_token=Exists(tokens), has_permission=may_add_events("account")
    )
    for registry in registries[:MAX_NAMED]:
        values = {"registry": registry, "time": duration_in_words(now - registry.last_contact_at)}
        arguments = ("admin:registry_activity_registry_change", (registry.pk,))
        if reason := _why_cut_off(registry):
            text = gettext("%(registry)s is cut off: %(reason)s, last contact %(time)s ago.")
            yield Finding(State.ERROR, text % {**values, "reason": reason}, *arguments)
        elif registry.is_quiet:
            text = gettext("%(registry)s is quiet: last contact %(time)s ago.")
            yield Finding(State.WARNING, text % values, *arguments)


def _why_cut_off(registry: Any) -> str:
    if registry.account is None:
        return gettext("its account was deleted")
    if not registry.account.is_active:
        return gettext("its account is inactive")
    if not registry.has_permission and not registry.account.is_superuser:
        return gettext("its account has lost the permission to add events")
    return "" if registry.has_token else gettext("its account has no valid access token for notifications")


def check_clocks(now: datetime) -> Iterator[Finding]:
    """Find clocks that are wrong: of this machine, of the database's, and of the nodes of registries."""
    if programs.is_expected(heartbeats.WORKER) and (lead := heartbeats.lead(now)):
        text = gettext(
            "The clock of this machine is %(time)s ahead of the last event, heartbeat or run. Until"
            " an MSR admin confirms the clock, auto-deletion deletes nothing."
        )
        yield Finding(
            State.ERROR,
            text % {"time": duration_in_words(lead)},
            "admin:registry_activity_autodeletion_change",
        )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            difference = timezone.now() - cursor.fetchone()[0]
        if abs(difference) > MAX_CLOCK_DIFFERENCE:
            if difference > timedelta():
                text = gettext("The clock of this machine is %(time)s ahead of that of the database.")
            else:
                text = gettext("The clock of this machine is %(time)s behind that of the database.")
            yield Finding(State.WARNING, text % {"time": duration_in_words(abs(difference))})
    for node in RegistryNode.objects.exclude(clock_offset=None).select_related("account")[:MAX_NAMED]:
        text = gettext("%(account)s: the clock of %(node)s is %(offset)s.")
        if not node.is_ahead:
            text = gettext("%(account)s: the clock of %(node)s is %(offset)s. Or its messages arrive late.")
        values = {"account": node.account, "node": node, "offset": node.clock_offset_in_words}
        yield Finding(State.WARNING, text % values, "admin:registry_activity_registry_changelist")


def check_dead_letters(now: datetime) -> Iterator[Finding]:
    waiting = DeadLetter.objects.filter(DeadLetter.WAITING).order_by()[: MAX_DEAD_LETTERS + 1].count()
    if waiting:
        text = gettext("Messages that could not be recorded: %(number)s waiting.")
        values = {"number": number_in_words(waiting, MAX_DEAD_LETTERS)}
        yield Finding(State.WARNING, text % values, "admin:registry_activity_deadletter_changelist")


def check_namespaces(now: datetime) -> Iterator[Finding]:
    """Find namespaces without an owner, and who has pushed to them."""
    unclaimed = Namespace.objects.filter(Namespace.UNCLAIMED).order_by("-pk")[: MAX_NAMESPACES + 1]
    for number, namespace in enumerate(unclaimed):
        page = "admin:registry_repositories_namespace_change", (namespace.pk,)
        if number == MAX_NAMESPACES:
            yield Finding(State.WARNING, gettext("More namespaces are unclaimed."), f"{page[0]}list")
        else:
            text = gettext("%(namespace)s is unclaimed.") % {"namespace": namespace}
            yield Finding(State.WARNING, f"{text} {_pusher(namespace)}".strip(), *page)


def _pusher(namespace: Namespace) -> str:
    """Return who has last pushed to an unclaimed namespace, and whether they can't see it yet."""
    repository = Repository.objects.live().filter(namespace=namespace).order_by("-pk").first()
    # Only MSR admins and auditors see the findings.
    events = Event.objects.visible_to(Access(AUDITOR_PERMISSIONS), repository)
    pushes = events.filter(partitions.in_category(Category.PUSH)).select_related("actor_user")
    push = pushes.order_by("-id").first() if repository else None
    if push is None:
        return gettext("Only MSR admins and auditors can see its repositories.")
    user = push.actor_user
    if user is None or not Access.for_user(user).sees_everything:
        text = gettext("%(actor)s pushed to %(repository)s and can't see it yet.")
    else:
        text = gettext("%(actor)s pushed to %(repository)s and can see it.")
    return text % {"actor": push.actor_label, "repository": repository}
