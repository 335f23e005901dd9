"""Measure the admin's event pages: the list, searches in the list, and the page for a single event."""

from datetime import datetime

from django.urls import reverse
from tqdm import tqdm

from activity.feed.ordering import BY_TIME
from activity.models import Event
from tests.benchmarks.lists import Measurement, Request, create_request, measure
from tests.benchmarks.world import BUSIEST, World

SEARCHES = {
    "all": "",
    "a busy repository": f"repo:{BUSIEST}",
    "a user": "actor:person-7",
    "a category": "category:delete",
    "a type": "type:delete",
    "without pulls": "-type:get",
    "a tag": f"repo:{BUSIEST} tag:v7",
    "a user in a repository": f"repo:{BUSIEST} actor:person-7",
    "an address": "ip:10.0.77.7",
    "an unknown address": "ip:172.16.0.1",
    "a digest": "digest:sha256:0123",
}


def measure_all(world: World, events: int) -> dict[str, Measurement]:
    """Measure each page with the given number of events in the database."""
    pages = all_pages(world.moment(events // 2))
    return {label: measure(pages[label]) for label in tqdm(pages, desc="Admin", unit="page")}


def all_pages(halfway: datetime) -> dict[str, Request]:
    """Return requests by an MSR admin: the first page and a middle page of each search, and one event."""
    url = reverse("admin:registry_activity_event_changelist")
    event = Event.objects.between(before=halfway).order_by("-pk")[0]
    middle = {"p": BY_TIME.encode(event, reverse=False)}
    pages = {
        f"{label}, {place}": create_request("admin", url, {"q": search, **start})
        for place, start in (("first page", {}), ("middle", middle))
        for label, search in SEARCHES.items()
    }
    return {
        **pages,
        "an event": create_request(
            "admin", reverse("admin:registry_activity_event_change", args=[event.pk]), {}
        ),
    }
