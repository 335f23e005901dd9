"""The admin for dead letters, which MSR admins and auditors can use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from activity.admin.actions import report
from activity.admin.capped import CappedPaginator
from activity.admin.read_only import ReadOnlyAdmin
from activity.models import DeadLetter
from activity.sources import replay
from repositories.utils.text import visible_lines

MAX_SHOWN = 64 * 1024
"""The maximum number of characters of a message to show on its page. The whole message can be downloaded."""
MAX_NOTE_LENGTH = 1000


class StateFilter(admin.SimpleListFilter):
    """Filters dead letters by state. By default, dead letters that were replayed or dismissed are hidden."""

    title = _("state")
    parameter_name = "state"
    STATES = {
        "waiting": (_("Waiting"), DeadLetter.WAITING),
        "replayed": (_("Replayed"), ~DeadLetter.NOT_REPLAYED),
        "dismissed": (_("Dismissed"), DeadLetter.NOT_REPLAYED & ~DeadLetter.NOT_DISMISSED),
        "all": (_("All"), Q()),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(key, str(label)) for key, (label, _) in self.STATES.items()]

    def choices(self, changelist: Any) -> Iterator[Any]:
        for key, label in self.lookup_choices:
            query = changelist.get_query_string({self.parameter_name: key})
            yield {"selected": self.chosen == key, "query_string": query, "display": label}

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(self.STATES[self.chosen][1])

    @property
    def chosen(self) -> str:
        value = self.value()
        return value if value in self.STATES else "waiting"


class NoteForm(ActionForm):
    """The list's action form, with a field for the note that is required to dismiss dead letters."""

    note = forms.CharField(label=_("Note (required to dismiss):"), required=False, max_length=MAX_NOTE_LENGTH)


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Shows dead letters and why they were rejected. MSR admins can replay or dismiss them."""

    change_form_template = "admin/registry_activity/deadletter/change_form.html"
    list_display = ("received_at", "source", "account", "reason", "size", "replayed_at", "dismissed_at")
    list_filter = [StateFilter, "source"]
    list_select_related = ["account"]
    paginator = CappedPaginator
    show_full_result_count = False
    fields = [*list_display, "dismissed_by", "note", "formatted_content"]
    actions = ["replay", "dismiss"]
    action_form = NoteForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        return super().get_queryset(request).defer("content")  # the content can be up to 16 MiB

    def get_urls(self) -> list[Any]:
        views: dict[str, Callable] = {
            "replay": partial(self.apply, self.replay),
            "dismiss": partial(self.apply, self.dismiss),
            "download": self.download,
        }
        urls = [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(view),
                name=f"registry_activity_deadletter_{name}",
            )
            for name, view in views.items()
        ]
        return [*urls, *super().get_urls()]

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        kwargs["extra_context"] = {"can_replay": self.has_replay_permission(request)}
        return super().change_view(request, object_id, *args, **kwargs)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("registry_activity.change_deadletter")

    @admin.action(description=_("Replay selected dead letters"), permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        outcome = replay.replay_all(queryset)
        if outcome.recorded or not (outcome.rejected or outcome.failed or outcome.is_partial):
            report(request, gettext("Recorded: %(number)s."), outcome.recorded)
        if outcome.rejected:
            messages.warning(
                request,
                gettext("Rejected again, for the reasons shown in the list: %(rejected)s.")
                % {"rejected": outcome.rejected},
            )
        if outcome.failed:
            messages.error(
                request,
                gettext("Failed because of errors (see the server log): %(failed)s.")
                % {"failed": outcome.failed},
            )
        if outcome.is_partial:
            messages.warning(
                request, gettext("The time limit was reached. Replay the remaining dead letters to continue.")
            )

    @admin.action(description=_("Dismiss selected dead letters"), permissions=["replay"])
    def dismiss(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        try:
            note = forms.CharField(max_length=MAX_NOTE_LENGTH).clean(request.POST.get("note"))
        except forms.ValidationError as error:
            messages.error(
                request,
                gettext("Enter a note that explains the dismissal. %(reason)s")
                % {"reason": error.messages[0]},
            )
            return
        count = replay.dismiss_all(queryset, request.user, note)
        report(request, gettext("Dismissed: %(number)s."), count)

    def apply(self, action: Callable, request: HttpRequest, pk: int) -> HttpResponse:
        """Apply one of the list's actions to a single dead letter, and redirect to its page."""
        if not self.has_replay_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            action(request, self.get_queryset(request).filter(pk=pk))
        return HttpResponseRedirect(reverse("admin:registry_activity_deadletter_change", args=[pk]))

    def download(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return the raw message as a download, so that browsers don't render it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        letter = get_object_or_404(DeadLetter, pk=pk)
        name = {"Content-Disposition": f'attachment; filename="message-{pk}.bin"'}
        return HttpResponse(bytes(letter.content), "application/octet-stream", headers=name)

    @admin.display(description=_("content"))
    def formatted_content(self, letter: DeadLetter) -> str:
        text, url = letter.text, reverse("admin:registry_activity_deadletter_download", args=[letter.pk])
        shown, excerpt = visible_lines(text[:MAX_SHOWN]), ""
        if len(text) > MAX_SHOWN:
            excerpt = gettext("The first %(shown)s of %(all)s characters are shown.") % {
                "shown": intcomma(MAX_SHOWN),
                "all": intcomma(len(text)),
            }
        parts = '<p><a href="{}">{}</a> {}</p><pre>{}</pre>'
        return format_html(parts, url, gettext("Download"), excerpt, shown)
