"""With a million events, the admin reads at most 500 rows for a search that can use an index.

For any other search, the admin reads at most 10,000 events. The test needs PostgreSQL, because only
PostgreSQL can report how many rows a query read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from activity.feed.ordering import BY_TIME
from activity.models import Event
from activity.storage.partitions import create_ahead
from repositories.models import RegistrySettings
from tests import factories
from tests.factories import NOON

EVENTS = "/admin/registry_activity/event/"
MILLION = 1_000_000
MAX_ROWS = 500
# When PostgreSQL merges the rows of several partitions, it reads one extra row from each partition.
MAX_ROWS_WITHOUT_INDEX = 10_000 + 10

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.long,
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="only PostgreSQL reports how many rows a query read"
    ),
]

FILL = """
INSERT INTO registry_activity_event (id, occurred_at, received_at, position, kind, is_pull, repository_id,
    repository_name, tag, digest, actor_type, actor_name, delivered_with, client_address, more_details)
SELECT
    (lpad(to_hex((extract(epoch FROM occurred_at) * 1000)::bigint), 12, '0') || '70008'
        || lpad(to_hex(number), 15, '0'))::uuid,
    occurred_at, occurred_at, number, kind, kind = 6, repository_id,
    'acme/web', 'v' || number %% 20, '\\x00' || decode(md5(number::text) || md5(number::text), 'hex'),
    'user', 'user-' || number %% 100, '',
    ('10.0.' || number %% 250 || '.7')::inet, jsonb_build_object('request_id', number::text)
FROM (
    SELECT number, %s::timestamptz - number * interval '8 seconds' AS occurred_at,
        (%s::int[])[1 + (sqrt(number %% 10007))::int %% %s] AS repository_id,
        CASE WHEN number %% 100 < 88 THEN 6 WHEN number %% 100 < 95 THEN 2
            WHEN number %% 1000 = 999 THEN 8 ELSE 4 END AS kind
    FROM generate_series(1, %s) AS number
) AS event
"""


@pytest.fixture
def million(db: None) -> None:
    """A million events, most of them pulls, stored in monthly partitions. The events span about 90 days."""
    repositories = [factories.repository(f"acme/r{number}").pk for number in range(50)]
    for month in (8, 11):
        create_ahead(NOON.replace(month=month))
    with connection.cursor() as cursor:
        cursor.execute(FILL, [NOON, repositories, len(repositories), MILLION])
        cursor.execute("ANALYZE registry_activity_event")


def rows_read(client: Client, url: str) -> int:
    """Return the largest number of rows that any single statement reads while a page is served."""
    read = [0]

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            context["cursor"].execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            plan = context["cursor"].fetchone()[0][0]["Plan"]
            read.append(sum(_rows_scanned(node) for node in _nodes(plan)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        assert client.get(url).status_code == 200
    return max(read)


def _rows_scanned(node: dict[str, Any]) -> int:
    """Return how many rows a plan node read from a table or index, including the rows that it discarded."""
    # The user's permissions are a few hundred rows, however many events there are.
    if node.get("Relation Name", "").startswith(("auth_", "django_content_type")):
        return 0
    if "Relation Name" not in node and node["Node Type"] != "Bitmap Index Scan":
        return 0
    discarded = sum(rows for name, rows in node.items() if name.startswith("Rows Removed"))
    return (node["Actual Rows"] + discarded) * node["Actual Loops"]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all nodes of a query plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


INDEXED = [
    "",
    "?q=acme/r7",
    "?q=acme/r7+acme/r8+acme/r9",
    "?q=user-7",
    "?q=nobody",
    "?category=push",
    "?category=scan",
    "?category=pull",
    "?q=-category:pull",
    "?q=acme/r7+after:2026-10-01+before:2026-11-01",
    "?q=category:delete+on:2026-10-12",
    "?occurred=2026-09",
    "?occurred=2020",
]
NOT_INDEXED = [
    "?q=type:delete",
    "?type=GET",
    "?q=kind:delete_tag",
    "?q=-type:get",
    "?q=ip:10.0.77.7",
    "?q=ip:172.16.0.1",
    "?q=-actor:user-7",
    "?q=-type:get+ip:172.16.0.1",
    "?q=acme/r7+tag:v3",
    "?q=acme/r7+tag:nothing",
    "?q=acme/r7+user-7+type:delete",
    "?q=user-7+type:delete",
    "?q=digest:sha256:0123",
    "?q=digest:sha256:ffff",
    "?q=namespace:acme+type:scan",
    "?q=request:77",
    "?q=actor-type:pruning",
    "?q=ip:172.16.0.1+after:2026-10-01+before:2026-10-20",
]


def test_event_pages_of_the_admin_read_few_rows(admin: Client, million: None) -> None:
    RegistrySettings(scanning_enabled=True).save()  # otherwise, there is no filter for scans
    old = Event.objects.order_by("pk")[MILLION // 2]
    older, newer = (f"p={BY_TIME.encode(old, reverse=reverse)}" for reverse in (False, True))
    pages = [(query, start) for query in INDEXED + NOT_INDEXED for start in ("", older)]
    pages += [(query, newer) for query in (*INDEXED[:4], *NOT_INDEXED[:4])]

    read = {
        f"{query} {start}": rows_read(admin, f"{EVENTS}{query}{'&' if query else '?'}{start}")
        for query, start in pages
    }
    read["detail"] = rows_read(admin, reverse("admin:registry_activity_event_change", args=[old.pk]))

    served = {name: rows for name, rows in read.items() if name.partition(" ")[0] in INDEXED}
    assert {name: rows for name, rows in served.items() if rows > MAX_ROWS} == {}
    assert {name: rows for name, rows in read.items() if rows > MAX_ROWS_WITHOUT_INDEX} == {}
