"""How fast the admin's pages of events are: the list, what is searched for in it, and an event."""

from datetime import datetime

from django.urls import reverse
from tqdm import tqdm

from activity.feed.ordering import BY_TIME
from activity.identity import first_id
from activity.models import Event
from tests.benchmarks.lists import Ask, Measure, measure, request
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
    "an address that was never seen": "ip:172.16.0.1",
    "a digest": "digest:sha256:0123",
}


def measure_all(world: World, events: int) -> dict[str, Measure]:
    """Measure each page while there are so many events."""
    pages = all_pages(world.moment(events // 2))
    return {label: measure(pages[label]) for label in tqdm(pages, desc="Admin", unit="page")}


def all_pages(halfway: datetime) -> dict[str, Ask]:
    """Return what asks for each page as an MSR admin: searches from now and from halfway, and an event."""
    url = reverse("admin:registry_activity_event_changelist")
    event = Event.objects.filter(id__lt=first_id(halfway)).order_by("-pk")[0]
    middle = {"p": BY_TIME.encode(event, reverse=False)}
    pages = {
        f"{label}, {place}": request("admin", url, {"q": search, **start})
        for place, start in (("first page", {}), ("middle", middle))
        for label, search in SEARCHES.items()
    }
    return {
        **pages,
        "an event": request("admin", reverse("admin:registry_activity_event_change", args=[event.pk]), {}),
    }
