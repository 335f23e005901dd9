"""The admin for events, which MSR admins and auditors can search, view and export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import Media
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.admin import overview
from activity.admin.event_filters import EventFilter, FilterForm
from activity.admin.event_list import EventChangeList, search_url
from activity.admin.read_only import ReadOnlyAdmin
from activity.deletion import traces
from activity.feed import export, reading
from activity.feed.nearby import nearby_events
from activity.feed.qualifiers import offered_qualifiers
from activity.feed.remarks import attach_remarks
from activity.feed.search_language import Search, Term
from activity.models import Event, EventQuerySet
from repositories import names
from repositories.access.resolving import Access
from repositories.admin.links import change_url
from repositories.utils.admin_lookup import LookupMixin
from repositories.utils.moments import format_time
from repositories.utils.text import visible_lines

STYLES = ["registry_activity/badges.css", "registry_activity/admin_events.css"]
REQUEST_WINDOW = timedelta(hours=1)
"""How far before and after an event to look for other events from the same request."""


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The read-only admin for events."""

    change_list_template = "admin/registry_activity/event/change_list.html"
    change_form_template = "admin/registry_activity/event/change_form.html"
    list_display = [
        "headline",
        "repository_column",
        "tag_column",
        "sha",
        "type_badge",
        "initiated_by",
        "time",
    ]
    list_filter = [EventFilter]
    search_fields = ["actor_name"]  # makes the search box appear; `search_language` parses the search
    sortable_by = ()
    ordering = ["-id"]
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets would count all rows once for each choice
    list_per_page = 50
    actions = ["export_csv", "export_jsonl"]
    fieldsets = [
        (None, {"fields": ["headline", "type_badge", "category", "kind", "time"]}),
        (_("Subject"), {"fields": ["repository_links", "tag", "digest", "pull_link", "remarks"]}),
        (_("Actor"), {"fields": ["actor_links", "actor_type", "same_actor"]}),
        (_("Origin"), {"fields": ["id", "received", "delivery", "imported", "same_request"]}),
        (_("Additional information from the source"), {"fields": ["formatted_details"]}),
    ]

    # --- List ---

    def get_queryset(self, request: HttpRequest) -> EventQuerySet:
        return Event.objects.visible_to(Access.for_user(request.user))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        return super(LookupMixin, self).get_changelist_instance(request)  # the list itself names problems

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return EventChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """Return the queryset unchanged: `EventChangeList` combines the search with the filters."""
        return queryset, False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow only the filters' lookups, because no index supports lookups on other fields."""
        return lookup in FilterForm.base_fields

    @property
    def media(self) -> Any:
        return super().media + FilterForm().media + Media(css={"all": STYLES})

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {
            "title": gettext("Events"),
            "qualifiers": offered_qualifiers(Access.for_user(request.user)),
            "time_zone": timezone.get_current_timezone_name(),
            "deletion_note": traces.deletion_note(),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    @admin.display(description=_("repository"))
    def repository_column(self, event: Event) -> str:
        name, note = event.repository_name, event.repository_note
        return _shown_once(event, "repository", f"{name} ({note})" if note else name)

    @admin.display(description=_("tag"), empty_value="-")
    def tag_column(self, event: Event) -> str:
        return event.tag and format_html('<span title="{}">{}</span>', event.tag, names.short_tag(event.tag))

    @admin.display(description=_("headline"))
    def headline(self, event: Event) -> str:
        if getattr(event, "repeats", None) is None:
            return event.headline
        return format_html('<span class="continued">{}</span>', event.headline)

    @admin.display(description=_("remarks"))
    def remarks(self, event: Event) -> str:
        attach_remarks([event])
        return ". ".join(event.remarks) or "-"  # type: ignore[attr-defined]

    @admin.display(description=_("part of the pull"))
    def pull_link(self, event: Event) -> str:
        if event.pull is None:
            return "-"
        return format_html(
            '<a href="{}">{}</a>', search_url(Search((Term("id", str(event.pull)),))), event.pull
        )

    @admin.display(description=_("SHA"))
    def sha(self, event: Event) -> str:
        if not event.digest:
            return ""
        code = format_html('<code title="{}">{}</code>', event.digest, event.short_digest)
        return _shown_once(event, "digest", code)

    @admin.display(description=_("type"))
    def type_badge(self, event: Event) -> str:
        css = f"type-{event.type.lower()}"
        return format_html('<span class="badge {}">{}</span>', css, event.type) if event.type else ""

    @admin.display(description=_("initiated by"))
    def initiated_by(self, event: Event) -> str:
        label, note = event.actor_label, event.actor_note
        return _shown_once(event, "actor", f"{label} ({note})" if note else label)

    @admin.display(description=_("date and time"))
    def time(self, event: Event) -> str:
        return _format_time(event.occurred_at)

    # --- Exports ---

    def get_urls(self) -> list[Any]:
        urls = [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"registry_activity_event_{name}")
            for name, view in (("export", self.export_listed), ("overview", self.overview))
        ]
        return [*urls, *super().get_urls()]

    def overview(self, request: HttpRequest) -> HttpResponse:
        """Show recent activity and problems that need attention."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = {**self.admin_site.each_context(request), "title": gettext("Overview"), "opts": self.opts}
        context = {**page, **overview.build_context(request.user)}
        return TemplateResponse(request, "admin/registry_activity/event/overview.html", context)

    def export_listed(self, request: HttpRequest) -> HttpResponseBase:
        """Export all events that match the search and the filters."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        back = f"{reverse('admin:registry_activity_event_changelist')}?{request.GET.urlencode()}"
        format = request.POST.get("format", "")
        listed = cast(EventChangeList, self.get_changelist_instance(request))
        if listed.plan.problems or format not in export.CONTENT_TYPES:
            messages.error(
                request, gettext("Nothing was exported because the search or the format is invalid.")
            )
            return HttpResponseRedirect(back)
        pages = reading.iter_pages(listed.plan, export.CHUNK)
        return _export_response(request, pages, format, str(listed.search))

    @admin.action(description=_("Export selected events as CSV"), permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Event]) -> HttpResponseBase:
        return _export_response(request, queryset, "csv")

    @admin.action(description=_("Export selected events as JSON Lines"), permissions=["view"])
    def export_jsonl(self, request: HttpRequest, queryset: QuerySet[Event]) -> HttpResponseBase:
        return _export_response(request, queryset, "jsonl")

    # --- Event page ---

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> Any:
        """Redirect to the archives that may contain the event, if there are any."""
        response = super()._get_obj_does_not_exist_redirect(request, opts, object_id)  # type: ignore[misc]
        try:
            id = UUID(object_id)
        except ValueError:
            return response
        if note := traces.missing_event_note(id):
            messages.info(request, note)
        if traces.archives_of(id):
            messages.info(request, traces.missing_event_sources(id))
            url = reverse("admin:registry_activity_archive_changelist")
            return HttpResponseRedirect(f"{url}?{urlencode({'q': object_id})}")
        return response

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Event | None:
        """Return the event with the related objects that its links need."""
        event = super().get_object(request, object_id, from_field)
        related = (
            "actor_user",
            "policy__repository__namespace",
            "repository__namespace",
            "imported",
            "delivered_by",
        )
        return self.get_queryset(request).select_related(*related).get(pk=event.pk) if event else None

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        nearby = nearby_events(self.get_queryset(request), Access.for_user(request.user), kwargs["obj"])
        context = {**context, "title": gettext("Event"), "nearby_events": nearby}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description=_("received at"))
    def received(self, event: Event) -> str:
        return _format_time(event.received_at)

    @admin.display(description=_("repository"))
    def repository_links(self, event: Event) -> str:
        return _render_links(event.repository_name, repository_links(event))

    @admin.display(description=_("initiated by"))
    def actor_links(self, event: Event) -> str:
        return _render_links(event.actor_label, actor_links(event))

    @admin.display(description=_("same actor"))
    def same_actor(self, event: Event) -> str:
        if not event.actor_name:
            return "-"
        hour = event.occurred_at.replace(minute=0, second=0, microsecond=0)
        search = Search((Term("actor", event.actor_name),), hour, hour + timedelta(hours=1))
        return _render_links("", [(gettext("Events by this actor in the same hour"), search_url(search))])

    @admin.display(description=_("delivered by"))
    def delivery(self, event: Event) -> str:
        return _render_links(delivery_text(event), delivery_links(event))

    @admin.display(description=_("same request"))
    def same_request(self, event: Event) -> str:
        details = event.details_without_message
        request_id = details.get("request_id") if isinstance(details, dict) else None
        if not isinstance(request_id, str) or not request_id:
            return "-"
        start, end = event.occurred_at - REQUEST_WINDOW, event.occurred_at + REQUEST_WINDOW
        search = Search((Term("request", request_id),), start, end)
        return _render_links("", [(gettext("Events from the same request"), search_url(search))])

    @admin.display(description=_("details"))
    def formatted_details(self, event: Event) -> str:
        text = json.dumps(event.full_details(), indent=2, ensure_ascii=False)
        return format_html("<pre>{}</pre>", visible_lines(text))


def repository_links(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the labels and URLs of links to an event's repository, if the event has one."""
    repository = event.repository
    if not repository:
        return
    yield (
        gettext("Administer"),
        reverse("admin:registry_repositories_repository_change", args=[repository.pk]),
    )
    if repository.deleted_at is None:
        names = [repository.namespace.name, repository.name]
        yield gettext("Activity"), reverse("registry_activity:repository", args=names)
    yield gettext("All events in this repository"), search_url(Search((Term("repo", repository.full_name),)))


def delivery_text(event: Event) -> str:
    """Return which account and token delivered an event."""
    if not event.delivery_account:
        return gettext("this application")
    if not event.delivery_token:
        return event.delivery_account
    return gettext("%(account)s, with the access token %(token)s") % {
        "account": event.delivery_account,
        "token": event.delivery_token_label,
    }


def delivery_links(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the labels and URLs of links to the account and the token that delivered an event."""
    if event.delivered_by:
        if url := change_url(event.delivered_by):
            yield gettext("Administer"), url
        name = event.delivered_by.get_username()
        yield gettext("All events from this account"), search_url(Search((Term("via", name),)))
        form = {"account": event.delivered_by.pk, "since": event.received_at.isoformat()}
        if event.delivered_with:
            form["token_key"] = event.delivered_with
        yield gettext("Dispute"), f"{reverse('admin:registry_activity_dispute_add')}?{urlencode(form)}"
    if event.delivery_token:
        yield gettext("All events from this token"), search_url(Search((Term("via", event.delivery_token),)))


def actor_links(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the labels and URLs of links to an event's actor, and to all events by the same actor."""
    if user := event.actor_user:
        if url := change_url(user):
            yield gettext("Administer"), url
        yield gettext("Profile"), reverse("registry_activity:user", args=[user.get_username()])
    if policy := event.policy:
        yield gettext("Policy"), policy.get_absolute_url()
        yield gettext("Administer"), reverse("admin:registry_repositories_policy_change", args=[policy.pk])
    if event.actor_name:
        yield gettext("All events by this actor"), search_url(Search((Term("actor", event.actor_name),)))


def _render_links(text: str, links: Any) -> str:
    return render_to_string("admin/registry_activity/event/links.html", {"text": text, "links": links})


def _shown_once(event: Event, column: str, content: str) -> str:
    """Mark the content of a column that the event above has, too, if both are drawn as one."""
    if column not in getattr(event, "repeats", ()):
        return content
    return format_html('<span class="repeated">{}</span>', content)


def _format_time(moment: datetime) -> str:
    moment = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        date_format(moment, "Y-m-d H:i:s.u T"),
        format_time(moment, "second"),
    )


def _export_response(
    request: HttpRequest, events: Any, format: str, filters: str | None = None
) -> HttpResponseBase:
    """Return a download of the events. Without `filters`, they are the events selected in the list."""
    if filters is None:
        filters = f"Selected events: {len(request.POST.getlist('_selected_action'))}"
    return export.response(events, format, actor=request.user, filters=filters)
