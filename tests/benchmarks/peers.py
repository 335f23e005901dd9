"""The audit logs of other registries, and of a popular Django app, as far as a database sees them.

Columns, indexes and statements follow their public sources, and are written anew:

- Harbor, table `audit_log`: 0030_2.0.0_schema.up.sql, 0060_2.3.0_schema.up.sql and 0090_2.6.0_schema.up.sql
  in make/migrations/postgresql, src/pkg/audit/dao/dao.go and src/server/v2.0/handler/auditlog.go, all in
  goharbor/harbor. A list is always counted first.
- Quay, table `logentry3`: data/database.py, data/model/log.py and data/logs_model/table_logs_model.py in
  quay/quay. A list is limited to a time range, here the last 30 days.
- django-auditlog, table `auditlog_logentry`: the package itself, with its migrations and its admin list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from tests.benchmarks.report import Findings, Table

ENTRIES = 50
SUPERUSER = "auditlog-superuser"
"""Only superusers have the permissions of django-auditlog."""
EVENTS = """
    SELECT event.id, occurred_at, is_pull, kind = ANY(%s) AS is_deletion, event.repository_id,
        namespace_id, repository_name, tag, actor_name, actor_user_id,
        CASE length(digest) WHEN 33 THEN 'sha256:' || encode(substr(digest, 2), 'hex') ELSE '' END AS digest,
        host(client_address) AS address, agent.value AS agent
    FROM registry_activity_event AS event
        LEFT JOIN registry_activity_text AS agent ON agent.id = user_agent_id
        JOIN registry_repositories_repository AS repository ON repository.id = event.repository_id
    WHERE event.id >= %s AND event.id < %s
    ORDER BY event.id
"""
"""The events between two ids, with whatever a peer stores about them."""


@dataclass(frozen=True)
class Peer:
    """An audit log to compare with."""

    name: str
    table: str
    create: str
    insert: str
    """Inserts the row for a notification, given its values by name."""
    fill: str = ""
    """Inserts rows for the events of `EVENTS`."""
    lists: dict[str, list[str]] = field(default_factory=dict)
    """The statements of first pages, by label."""


PATH = "/api/v0/events"
"""The path of the bare site. For this path, the web server uses the threads that record events."""
RAW = Peer(
    name="a table of messages",
    table="bare_message",
    create="CREATE TABLE bare_message (id bigserial PRIMARY KEY, received_at timestamptz, body bytea)",
    insert="INSERT INTO bare_message (received_at, body) VALUES (now(), %(body)s)",
)
HARBOR = Peer(
    name="Harbor",
    table="audit_log",
    create="""
        CREATE TABLE audit_log (
            id serial PRIMARY KEY, project_id int NOT NULL, operation varchar(20) NOT NULL,
            resource_type varchar(255) NOT NULL, resource varchar(1024) NOT NULL,
            username varchar(255) NOT NULL, op_time timestamp DEFAULT CURRENT_TIMESTAMP
        );
        CREATE INDEX ON audit_log (op_time);
        CREATE INDEX ON audit_log (project_id, op_time)
    """,
    insert="""
        INSERT INTO audit_log (project_id, operation, resource_type, resource, username, op_time)
        VALUES (1, %(action)s, 'artifact', %(reference)s, %(actor)s, now()) RETURNING id
    """,
    fill="""
        INSERT INTO audit_log (project_id, operation, resource_type, resource, username, op_time)
        SELECT namespace_id,
            CASE WHEN is_pull THEN 'pull' WHEN is_deletion THEN 'delete' ELSE 'create' END, 'artifact',
            repository_name || CASE tag WHEN '' THEN '@' || digest ELSE ':' || tag END, actor_name,
            occurred_at
        FROM events
    """,
    lists={
        label: [
            f"SELECT COUNT(*) FROM audit_log {condition}",
            "SELECT id, project_id, operation, resource_type, resource, username, op_time FROM audit_log"
            f" {condition} ORDER BY op_time DESC LIMIT {ENTRIES}",
        ]
        for label, condition in {
            "administrator, everything": "",
            "administrator, deletions": "WHERE operation = 'delete'",
            "member of five projects": "WHERE project_id IN (SELECT id FROM registry_repositories_namespace"
            " WHERE name IN ('team-3', 'team-33', 'team-63', 'team-93', 'team-123'))",
            "a resource that isn't there": "WHERE resource = 'team-1/none:v1'",
        }.items()
    },
)
QUAY_RANGE = "datetime >= now() - interval '30 days' AND datetime < now()"
QUAY = Peer(
    name="Quay",
    table="logentry3",
    create="""
        CREATE TABLE logentry3 (
            id bigserial PRIMARY KEY, kind_id int NOT NULL, account_id int NOT NULL, performer_id int,
            repository_id int, datetime timestamp NOT NULL, ip varchar(255), metadata_json text NOT NULL
        );
        CREATE INDEX ON logentry3 (datetime);
        CREATE INDEX ON logentry3 (account_id, datetime);
        CREATE INDEX ON logentry3 (performer_id, datetime);
        CREATE INDEX ON logentry3 (repository_id, datetime, kind_id)
    """,
    insert="""
        INSERT INTO logentry3 (kind_id, account_id, performer_id, repository_id, datetime, ip, metadata_json)
        VALUES (1, 1, 1, 1, now(), %(address)s, %(metadata)s) RETURNING id
    """,
    fill="""
        INSERT INTO logentry3 (kind_id, account_id, performer_id, repository_id, datetime, ip, metadata_json)
        SELECT CASE WHEN is_pull THEN 1 WHEN is_deletion THEN 2 ELSE 3 END, namespace_id, actor_user_id,
            repository_id, occurred_at, address,
            json_build_object('repo', split_part(repository_name, '/', 2),
                'namespace', split_part(repository_name, '/', 1), 'username', actor_name, 'user-agent', agent,
                CASE tag WHEN '' THEN 'manifest_digest' ELSE 'tag' END,
                CASE tag WHEN '' THEN digest ELSE tag END)
        FROM events
    """,
    lists={
        label: [
            "SELECT log.*, performer.username FROM logentry3 AS log"
            " LEFT JOIN auth_user AS performer ON performer.id = performer_id"
            f" WHERE {condition} AND {QUAY_RANGE} ORDER BY datetime DESC LIMIT {ENTRIES + 1}"
        ]
        for label, condition in {
            "superuser, everything": "true",
            "busiest repository": "repository_id ="
            " (SELECT id FROM registry_repositories_repository WHERE full_name = 'acme/web')",
            "an organization": "account_id ="
            " (SELECT id FROM registry_repositories_namespace WHERE name = 'team-3')",
        }.items()
    },
)
AUDITLOG = Peer(
    name="django-auditlog",
    table="auditlog_logentry",
    create="",  # by its migrations
    insert="",  # by its model
    fill="""
        INSERT INTO auditlog_logentry (content_type_id, object_pk, object_id, object_repr, action,
            changes_text, changes, actor_id, remote_addr, timestamp, additional_data)
        SELECT (SELECT id FROM django_content_type
                WHERE app_label = 'registry_repositories' AND model = 'repository'),
            repository_id::text, repository_id, repository_name,
            CASE WHEN is_pull THEN 3 WHEN is_deletion THEN 2 ELSE 1 END, '',
            jsonb_build_object('tag', jsonb_build_array('None', tag),
                'digest', jsonb_build_array('None', digest)),
            actor_user_id, split_part(address, ':', 1)::inet, occurred_at,
            jsonb_build_object('user_agent', agent)
        FROM events
    """,
)
PEERS = (HARBOR, QUAY, AUDITLOG)


def values_of(body: bytes) -> dict[str, Any]:
    """Return what a peer stores about a notification."""
    notification = json.loads(body)["events"][0]
    target, request = notification["target"], notification["request"]
    repository, reference = target["repository"], target.get("tag") or target["digest"]
    metadata = {
        "repo": repository,
        "username": notification["actor"]["name"],
        "user-agent": request["useragent"],
        "tag": reference,
    }
    return {
        "action": notification["action"],
        "reference": f"{repository}:{reference}",
        "actor": metadata["username"],
        "address": request["addr"],
        "metadata": json.dumps(metadata),
    }


def create(peer: Peer) -> None:
    if peer is AUDITLOG:
        call_command("migrate", "auditlog", verbosity=0)
        return
    with connection.cursor() as cursor:
        cursor.execute(peer.create)


def drop(peer: Peer) -> None:
    with connection.cursor() as cursor:
        if peer is not AUDITLOG:
            cursor.execute(f"DROP TABLE IF EXISTS {peer.table}")
            return
        if peer.table in connection.introspection.table_names(cursor):
            cursor.execute(f"TRUNCATE {peer.table}")  # its migrations would rewrite the table several times
    call_command("migrate", "auditlog", "zero", verbosity=0)


# --- Pages --------------------------------------------------------------------------------------


def measure_all(bounds: dict[int, Any]) -> Findings:
    """Measure the first pages of each peer at several sizes. `bounds` maps the sizes to ids of events."""
    found = Findings()
    for peer in PEERS:
        drop(peer)
        create(peer)
        try:
            _measure(peer, bounds, found)
        finally:
            drop(peer)
    return found


def _measure(peer: Peer, bounds: dict[int, Any], found: Findings) -> None:
    # The bare site, which imports this module, has no events.
    from activity.catalogue import KINDS
    from activity.models import Event
    from repositories.access.levels import Category

    start: Any = "00000000-0000-0000-0000-000000000000"
    rows: dict[str, list[Any]] = {}
    field = Event._meta.get_field("kind")
    deletions = [
        field.get_prep_value(kind.key) for kind in KINDS.values() if kind.category == Category.DELETE
    ]
    for size, end in bounds.items():
        with connection.cursor() as cursor:
            with _without_indexes(peer):
                cursor.execute(f"WITH events AS ({EVENTS}) {peer.fill}", [deletions, start, end])
            cursor.execute(f"VACUUM ANALYZE {peer.table}")
            cursor.execute(f"SELECT pg_total_relation_size(%s), COUNT(*) FROM {peer.table}", [peer.table])
            stored, number = cursor.fetchone()
        start = end
        for label, request in _requests(peer).items():
            milliseconds = _median_ms(request)
            rows.setdefault(label, [label]).append(milliseconds)
            found.figures[f"{peer.name}, {label}|{size}"] = milliseconds
    found.figures[f"{peer.name}, bytes an event"] = stored / number
    sizes = [f"{size:,} events" for size in bounds]
    note = "" if peer is AUDITLOG else "The statements alone, without an application."
    title = f"{peer.name}: first page of {ENTRIES} entries, ms"
    found.tables.append(Table(title, sizes, list(rows.values()), note))


@contextmanager
def _without_indexes(peer: Peer) -> Iterator[None]:
    """Drop the indexes of a peer's table, except for its primary key, and create them again afterwards.

    With its seven indexes, django-auditlog's table takes more than an hour for 20 million rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s"
            " AND indexname NOT IN (SELECT conname FROM pg_constraint)",
            [peer.table],
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        yield
        for _, definition in indexes:
            cursor.execute(definition)


def _requests(peer: Peer) -> dict[str, Callable[[], object]]:
    if peer is AUDITLOG:
        from tests.benchmarks.pages import create_request

        get_user_model()._default_manager.get_or_create(username=SUPERUSER, is_superuser=True, is_staff=True)
        url = reverse("admin:auditlog_logentry_changelist")
        return {
            "admin list": create_request(SUPERUSER, url, {}),
            "admin list, deletions": create_request(SUPERUSER, url, {"action__exact": "2"}),
        }
    return {label: partial(_execute, statements) for label, statements in peer.lists.items()}


def _execute(statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
            cursor.fetchall()


def _median_ms(request: Callable[[], object]) -> float:
    request()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.5 and len(times) < 50):
        started = perf_counter()
        request()
        times.append(perf_counter() - started)
    return median(times) * 1000
