"""The policy page: a policy's settings, the tags that it currently matches, and its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from activity.storage import tags
from activity.views.activity import ActivityPage
from activity.views.changes import attach_changes
from repositories.models import Policy
from repositories.policies.criteria import TagActivity, matching_tags
from repositories.policies.tag_templates import SAME_TAG, render
from repositories.views.policies import PolicyPage, target_name

MAX_TAGS_READ = 1_000
"""The maximum number of tags that a preview reads. The newest tags are read first."""
MAX_TAGS_SHOWN = 50


@dataclass(frozen=True)
class Preview:
    """The tags that a policy currently matches, newest first.

    Each tag comes with the name that the policy would give to its copy.
    """

    read: int
    matching: int
    shown: list[tuple[TagActivity, str]]
    complete: bool
    """Whether all tags in the repository were read."""

    @property
    def not_shown(self) -> int:
        return self.matching - len(self.shown)


# The base classes declare `repository` with different types. It is never None here.
class PolicyView(PolicyPage, ActivityPage):  # type: ignore[misc]
    """A policy's page, with the events that the policy caused and the changes that were made to it."""

    template_name = "registry_activity/policy.html"
    has_atom = False

    @property
    def scope(self) -> Mapping[str, str]:
        return {"policy": self.policy.public_id}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(
            **kwargs, target=target_name(self.policy, self.access), preview=preview(self.policy)
        )
        attach_changes([row["event"] for row in context["rows"]], self.access)
        return context


def preview(policy: Policy) -> Preview | None:
    """Return the tags that a policy currently matches.

    Returns None if the policy's repository is deleted, or if the policy applies to tags in another registry.
    """
    if policy.kind == Policy.Kind.PULL_MIRRORING or policy.repository.deleted_at:
        return None
    rows = tags.with_pulls(tags.current_tags(policy.repository)).order_by("-last_push")[: MAX_TAGS_READ + 1]
    read = [TagActivity(row.name, row.pushed_at, row.last_used_at, row.digest) for row in rows]
    now = timezone.now()
    rule = all if policy.kind == Policy.Kind.PRUNING else any
    found = matching_tags(read[:MAX_TAGS_READ], list(policy.criteria.all()), now, rule)
    return Preview(
        read=min(len(read), MAX_TAGS_READ),
        matching=len(found),
        shown=[(tag, _new_name(policy, tag, now)) for tag in found[:MAX_TAGS_SHOWN]],
        complete=len(read) <= MAX_TAGS_READ,
    )


def _new_name(policy: Policy, tag: TagActivity, now: datetime) -> str:
    """Return the name of a tag's copy, or an empty string if the policy doesn't name copies.

    Attachments keep their names, because clients find them by the digest of their image.
    """
    template = SAME_TAG if tag.image and policy.tag_template else policy.tag_template
    return render(template, tag.name, now)
