"""The event model, which is append-only."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NoReturn, Self

from django.conf import settings
from django.db import models
from django.db.models import Q, prefetch_related_objects
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity import catalogue
from activity.catalogue import FAILED_LOGIN
from activity.gating import GatedEventQuerySet
from activity.identity import first_id
from activity.models.actors import MAX_ACTOR_LENGTH, ActorType, label_of_actor
from activity.models.append_only import AppendOnlyModel
from activity.models.archives import Import
from activity.models.details import TEXTS, EventDetails
from activity.models.disputes import Dispute
from activity.models.fields import (
    WITHOUT_PULLS,
    BlockRangeIndex,
    CategoryField,
    DigestField,
    IndexWithoutPulls,
    KindField,
    SQLiteIndex,
)
from repositories import names
from repositories.accounts.models import MAX_TOKEN_KEY_LENGTH, SHOWN_DIGITS
from repositories.models import AccessToken, Policy, Repository
from repositories.utils.fields import UnconstrainedForeignKey
from repositories.utils.text import visible_text

ACTORS = ("actor_user", "delivered_by", "policy__repository__namespace", "repository__namespace")
"""The relations to load with events, to show their actors, policies, accounts and repositories."""
FOREIGN_ARCHIVE = "foreign_archive"
"""The key in the details of events that were imported from an archive of another installation."""
MAX_MEMBERS = 3
"""How many of the members that were added or removed to name. The details contain all of them."""
MAX_CLOCK_LEAD = timedelta(minutes=5)
"""How far the clock of a node may be ahead of this server's clock."""


def effective_time(occurred_at: datetime, received_at: datetime) -> datetime:
    """Return when an event happened, or when it was received if the clock of its node is ahead."""
    return received_at if occurred_at > received_at + MAX_CLOCK_LEAD else occurred_at


class EventQuerySet(GatedEventQuerySet):
    """A queryset that rejects updates and deletions. Auto-deletion uses `activity.storage.events` instead."""

    def between(self, after: datetime | None = None, before: datetime | None = None) -> Self:
        """Return the events that occurred at or after `after` and before `before`.

        Both bounds are truncated to the millisecond.
        """
        events = self if after is None else self.filter(id__gte=first_id(after))
        return events if before is None else events.filter(id__lt=first_id(before))

    def update(self, **_: Any) -> NoReturn:
        raise TypeError("Events are append-only.")

    def delete(self) -> NoReturn:
        raise TypeError("Events are append-only.")


BaseEventManager = models.Manager.from_queryset(EventQuerySet)


class EventManager(BaseEventManager):
    """Loads events together with the texts in their details."""

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related(*TEXTS)


class Event(AppendOnlyModel, EventDetails):
    """Something that happened in the registry. Append-only.

    An event outlives the objects that it refers to. It stores their names at the time, and its foreign
    keys have no constraint in the database, so they may point to rows that no longer exist.
    """

    id = models.UUIDField(_("id"), primary_key=True, editable=False)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    position = models.BigIntegerField(editable=False)
    """The number of the event in the order of commits; see `activity.storage.positions`."""
    kind = KindField(verbose_name=_("kind"))
    category = CategoryField(verbose_name=_("category"))
    is_pull = models.BooleanField(default=False)
    """Whether the event is a pull. The partial indexes and the partitions are based on this field."""
    repository = UnconstrainedForeignKey(Repository, null=True)
    repository_name = models.CharField(max_length=names.MAX_NAME_LENGTH)
    tag = models.CharField(_("tag"), max_length=names.MAX_TAG_LENGTH, blank=True)
    digest = DigestField(max_length=names.MAX_DIGEST_LENGTH, blank=True, verbose_name=_("digest"))
    pull = models.UUIDField(null=True, editable=False)
    """The id of the pull that the event is a part of, if it isn't a pull of its own.

    For example, to pull an image that exists for several platforms, a client gets an index, and then the
    manifest of its platform.
    """
    actor_type = models.CharField(_("actor type"), max_length=20, choices=ActorType)
    actor_name = models.CharField(max_length=MAX_ACTOR_LENGTH, blank=True)
    actor_user = UnconstrainedForeignKey(settings.AUTH_USER_MODEL, null=True)
    subject_user = UnconstrainedForeignKey(settings.AUTH_USER_MODEL, null=True)
    """The user whose account or access the event is about, such as the user who got a grant."""
    delivered_by = UnconstrainedForeignKey(settings.AUTH_USER_MODEL, null=True)
    """The account that delivered the event. None if the application itself recorded it."""
    delivered_with = models.CharField(max_length=MAX_TOKEN_KEY_LENGTH, blank=True)
    """The first digits of the access token that delivered the event, which identify the token."""
    policy = UnconstrainedForeignKey(Policy, null=True)
    """The policy that is the actor or the subject of the event."""
    imported = UnconstrainedForeignKey(Import, null=True, verbose_name=_("imported"))
    """The import that restored the event from an archive, if any."""

    objects = EventManager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-id"]
        default_permissions = ["add", "view"]  # "add" allows delivering events
        # About 90% of events are pulls. By default, the list of a repository's events excludes pulls, and the
        # indexes without pulls let the query skip them.
        indexes = [
            models.Index(fields=["repository", "id"], name="event_repository"),
            SQLiteIndex(
                fields=["repository", "id"], condition=WITHOUT_PULLS, name="event_repository_without_pulls"
            ),
            SQLiteIndex(fields=["id"], condition=WITHOUT_PULLS, name="event_without_pulls"),
            IndexWithoutPulls(fields=["kind", "id"], condition=WITHOUT_PULLS, name="event_kind"),
            models.Index(fields=["actor_name", "id"], name="event_actor"),
            # The next index finds the viewer's own account events. A service account can have a million pulls
            # and pushes, but only a few account events, which are about no repository.
            IndexWithoutPulls(
                fields=["actor_user", "id"],
                condition=Q(is_pull=False, repository=None, actor_user__isnull=False),
                name="event_account",
            ),
            # 48 bytes for each event with a tag that isn't a pull, and 112 bytes for each one with a digest.
            # Pulls make up about 90% of the events, so that is about 5 and 11 bytes an event.
            IndexWithoutPulls(fields=["tag", "id"], condition=Q(is_pull=False, tag__gt=""), name="event_tag"),
            IndexWithoutPulls(
                fields=["digest", "id"], condition=Q(is_pull=False, digest__gt=""), name="event_digest"
            ),
            models.Index(
                fields=["subject_user", "id"], condition=Q(subject_user__isnull=False), name="event_subject"
            ),
            BlockRangeIndex(fields=["position"], name="event_position"),
            models.Index(fields=["imported"], condition=Q(imported__isnull=False), name="event_imported"),
            models.Index(fields=["policy", "id"], condition=Q(policy__isnull=False), name="event_policy"),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.reference}"

    @property
    def effective_at(self) -> datetime:
        """When the event happened, or when it was received if the clock of its node is ahead."""
        return effective_time(self.occurred_at, self.received_at)

    @property
    def is_ahead(self) -> bool:
        """Whether the clock of the event's node is ahead."""
        return self.effective_at != self.occurred_at

    @property
    def label(self) -> str:
        return catalogue.label_of(self.kind)

    @property
    def english_label(self) -> str:
        return catalogue.english_label_of(self.kind)

    @property
    def type(self) -> str:
        return catalogue.type_of(self.kind)

    @property
    def reference(self) -> str:
        """The name of the repository, followed by the tag if there is one: `acme/web:v1` or `acme/web`."""
        return f"{self.repository_name}:{self.tag}" if self.tag else self.repository_name

    @property
    def short_reference(self) -> str:
        """The reference, with only the beginning of a digest in the tag, if it is a signature or the like."""
        return f"{self.repository_name}:{names.short_tag(self.tag)}" if self.tag else self.repository_name

    @property
    def short_digest(self) -> str:
        """The algorithm and the first eight digits of the digest, for example `sha256:bbf09ba3`."""
        return names.short_digest(self.digest)

    @property
    def attempts(self) -> int | None:
        """The number of attempts, if the event is about failed logins; see `FailedLogins`.

        Call `load_marks` for a list of events, to avoid a query for each event.
        """
        if self.kind != FAILED_LOGIN:
            return None
        return sum(row.attempts for row in self.failed_logins.all()) or None

    def full_details(self, *, with_message: bool = True) -> Any:
        """Return the details, with the number of attempts if the event is about failed logins."""
        details = self.details if with_message else self.details_without_message
        return details if self.attempts is None else {**details, "attempts": self.attempts}

    @property
    def summary(self) -> str:
        """The label, with the number of failed logins if there were several, and with any doubts."""
        remarks = []
        if (attempts := self.attempts or 1) > 1:
            remarks.append(gettext("%(number)s attempts") % {"number": attempts})
        if self.foreign_archive:
            remarks.append(gettext("from a foreign archive"))
        if self.is_disputed:
            remarks.append(gettext("disputed"))
        return " ".join([self.label, *(f"({remark})" for remark in remarks)])

    @property
    def subject(self) -> str:
        """Who or what an event about this application is about: `Read-Write on acme/web to mara`."""
        details = self.more_details if isinstance(self.more_details, dict) else {}
        subject, members = details.get("subject"), details.get("members")
        if not isinstance(subject, str):
            return ""
        if isinstance(members, list) and members:
            more = f" and {len(members) - MAX_MEMBERS} more" if len(members) > MAX_MEMBERS else ""
            subject = f"{', '.join(map(str, members[:MAX_MEMBERS]))}{more} in {subject}"
        return visible_text(subject)

    @property
    def headline(self) -> str:
        """The summary, and the subject if there is one: `Create Grant: Read-Write on acme/web to mara`."""
        return f"{self.summary}: {self.subject}" if self.subject else self.summary

    def get_absolute_url(self) -> str:
        return reverse("registry_activity:event", args=[self.pk])

    @cached_property
    def is_disputed(self) -> bool:
        """Whether an MSR admin has disputed what the event's account or token delivered; see `Dispute`.

        Call `load_marks` for a list of events, to avoid a query for each event.
        """
        disputes = Dispute.in_force([self.delivered_by_id] if self.delivered_by_id else [])
        return any(dispute.includes(self) for dispute in disputes)

    @property
    def foreign_archive(self) -> str:
        """The archive from which the event was imported, if another installation wrote it."""
        details = self.more_details if isinstance(self.more_details, dict) else {}
        origin = details.get(FOREIGN_ARCHIVE)
        return str(origin.get("archive", "")) if isinstance(origin, dict) else ""

    @property
    def actor_label(self) -> str:
        """The label of the actor; see `label_of_actor`."""
        return label_of_actor(self.actor_type, self.actor_name)

    @property
    def actor_note(self) -> str:
        """What has become of the actor's account, if it was deleted or renamed since.

        The id distinguishes accounts that had the same name at different times. Load events with
        `select_related("actor_user")` to avoid extra queries.
        """
        if self.actor_user_id is None:
            return ""
        if self.actor_user is None:
            return gettext("deleted account #%(id)s") % {"id": self.actor_user_id}
        name = self.actor_user.get_username()
        if name == self.actor_name:
            return ""
        return gettext("now %(name)s") % {"name": visible_text(name)}

    @property
    def repository_note(self) -> str:
        """Whether the repository was deleted since. There may be another one of its name."""
        return gettext("deleted since") if self.repository and self.repository.deleted_at else ""

    @property
    def delivery_account(self) -> str | None:
        """The name of the account that delivered the event, or its id if the account was deleted.

        Load events with `select_related("delivered_by")` to avoid extra queries.
        """
        if self.delivered_by_id is None:
            return None
        return self.delivered_by.get_username() if self.delivered_by else f"#{self.delivered_by_id}"

    @property
    def delivery_token(self) -> str | None:
        """The first digits of the access token that delivered the event."""
        return self.delivered_with[:SHOWN_DIGITS] or None

    @property
    def delivery_token_label(self) -> str:
        """The name and the first digits of the access token that delivered the event.

        Only the digits if the token has no name or has been revoked. Reading this needs a query.
        """
        tokens = AccessToken.objects.filter(user=self.delivered_by_id, token_key=self.delivered_with)
        token = tokens.first()
        return token.label if token else f"{self.delivery_token}…"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Events are append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Events are append-only.")


def load_marks(events: Collection[Event]) -> None:
    """Load the number of attempts of failed logins, and which events are disputed, in at most two queries.

    The messages of these events are loaded at once, too, if the details of any of them are needed.
    """
    disputes = Dispute.in_force({event.delivered_by_id for event in events} - {None})
    for event in events:
        event.is_disputed = any(dispute.includes(event) for dispute in disputes)
        event.listed_with = events
    prefetch_related_objects([event for event in events if event.kind == FAILED_LOGIN], "failed_logins")
