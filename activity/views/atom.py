"""Atom feeds of the newest events, with the same permissions and filters as the event pages.

Feed readers have no session. They use HTTP Basic authentication, with an access token as the password, so
that feed URLs contain no secrets.
"""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.decorators import method_decorator
from django.utils.feedgenerator import Atom1Feed
from django.utils.translation import gettext as _
from django.views.decorators.http import conditional_page
from rest_framework.exceptions import AuthenticationFailed

from activity.feed.reading import find
from activity.models import Event
from activity.views import activity
from repositories.accounts import throttling
from repositories.accounts.authentication import BasicTokenAuthentication

MAX_ENTRIES = 50
INVALID_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 can't represent."""


# The ETag is a hash of the content, so it changes with whatever the viewer may see.
@method_decorator([login_not_required, conditional_page], name="dispatch")
class AtomView(activity.ActivityPage):
    """Base class for Atom feeds of the newest events on a page."""

    parameters_of_page = frozenset()

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            try:
                found = BasicTokenAuthentication().authenticate(request)  # type: ignore[arg-type]
            except AuthenticationFailed:
                found = None
            if found is None or not found[1].can_read:
                return HttpResponse(
                    status=401, headers={"WWW-Authenticate": 'Basic realm="Registry activity"'}
                )
            request.user, token = found
            allowance = throttling.count(token)
            if allowance and allowance.is_exceeded:
                return HttpResponse(status=429, headers=allowance.headers)
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if refusal := self.refusal():
            return refusal
        page = request.build_absolute_uri(request.path.removesuffix("atom/"))
        names = ["/".join(self.kwargs.values())] if self.kwargs else []
        feed = Atom1Feed(
            title=INVALID_IN_XML.sub("", ": ".join([_("Registry activity"), *names])),
            link=page + self.list_url(),
            description="",
            feed_url=request.build_absolute_uri(),
            feed_guid=request.build_absolute_uri(),
        )
        for event in self.newest_events():
            self.add_entry(feed, event)
        response = HttpResponse(content_type=feed.content_type)
        feed.write(response, "utf-8")
        return response

    def newest_events(self) -> list[Event]:
        """Return the newest events. What no index supports is found among the newest ones only."""
        return find(self.listed.plan, MAX_ENTRIES).rows

    def add_entry(self, feed: Atom1Feed, event: Event) -> None:
        moment = event.occurred_at
        author = _("By %(actor)s.") % {"actor": event.actor_label}
        feed.add_item(
            title=INVALID_IN_XML.sub("", f"{event.headline} {event.reference}".strip()),
            link=self.request.build_absolute_uri(event.get_absolute_url()),
            description=INVALID_IN_XML.sub("", f"{author} {event.digest}".strip()),
            author_name=INVALID_IN_XML.sub("", event.actor_label),
            unique_id=f"urn:uuid:{event.pk}",
            pubdate=moment,
            updateddate=moment,
            categories=[event.category],
        )


class ActivityAtom(AtomView, activity.ActivityView):
    pass


# The base classes declare `repository` with different types. It is never None here.
class RepositoryAtom(AtomView, activity.RepositoryActivityView):  # type: ignore[misc]
    pass


class OrganizationAtom(AtomView, activity.OrganizationActivityView):
    pass


class UserAtom(AtomView, activity.UserView):
    pass
