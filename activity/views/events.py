"""The page of an event, with what the viewer may know of it."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from django.utils.translation import gettext_lazy as _
from django.views.generic import TemplateView

from activity.feed.chart import LABELS as CATEGORY_LABELS
from activity.feed.links import links
from activity.feed.nearby import nearby_events
from activity.feed.remarks import attach_remarks
from activity.gating import sees_delivery, visible_details
from activity.models import ACTORS, Event
from activity.scans import ScanResult
from activity.views.changes import attach_changes, text_of
from repositories.access.levels import Category
from repositories.views.pages import ViewerMixin

LABELS = {
    "client_address": _("Client address"),
    "client_port": _("Client port"),
    "user_agent": _("User agent"),
    "media_type": _("Media type"),
    "size": _("Size in bytes"),
    "request_id": _("Request ID"),
    "node": _("Node"),
    "notification_id": _("Notification ID"),
    "message": _("Message"),
}
"""The labels of details. Producers can add others, which are shown by their names."""
SHOWN_ELSEWHERE = {"subject", "members", "changes", "attempts"}
"""The details that are part of the headline, or that have a place of their own on the page."""


class EventView(ViewerMixin, TemplateView):
    """An event's page. An event that the viewer can't see gets the same 404 response as a missing one."""

    template_name = "registry_activity/event.html"
    extra_context = {"section": "activity"}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        events = Event.objects.visible_to(self.access)
        event = get_object_or_404(events.select_related(*ACTORS), pk=kwargs["event_id"])
        attach_remarks([event])
        attach_changes([event], self.access)
        details = visible_details(event, self.access)
        details = details if isinstance(details, dict) else {"": details}
        scan = ScanResult.of(details if event.category == Category.SCAN else {})
        listed = [key for key in details if key not in SHOWN_ELSEWHERE | scan.details]
        return super().get_context_data(
            **kwargs,
            event=event,
            scan=scan,
            category=CATEGORY_LABELS.get(event.category, event.category),
            details=[(LABELS.get(key, key), text_of(details[key])) for key in listed],
            sees_delivery=sees_delivery(self.access, event),
            **links(event, self.access),
            nearby=nearby_events(events, self.access, event),
            link=self.request.build_absolute_uri(event.get_absolute_url()),
        )
