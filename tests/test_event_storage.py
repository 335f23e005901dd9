"""Events take few bytes, and digests are found by their beginnings, whatever their algorithm."""

from __future__ import annotations

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activity.models import Event
from activity.storage.events import insert
from tests import factories
from tests.event_statements import on_postgresql
from tests.worlds import rolled_back

pytestmark = pytest.mark.django_db

HEX = "0123456789abcdef" * 8
SHA256 = f"sha256:{HEX[:64]}"
DIGESTS = [
    *("", SHA256, factories.DIGEST, f"sha256:{'0' * 64}", f"sha256:{'f' * 64}", f"sha256:{'ab' * 16}"),
    *(f"sha256:{HEX[:64].upper()}", f"sha256:{HEX[:70]}", f"sha512:{HEX}", f"sha3.x:{HEX[:40]}", "x" * 255),
    *("sha256:é", "sha25", "md5:" + "0" * 32),
]
BEGINNINGS = [
    "",
    "s",
    "sha2",
    "sha256:",
    "sha256:0",
    "sha256:01",
    "sha256:f",
    "sha512:0",
    "sha256:A",
    "md5",
    "zz",
]
digests = st.sampled_from(DIGESTS) | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
beginnings = st.sampled_from(BEGINNINGS) | digests | st.from_regex(r"sha256:[0-9a-f]{0,3}", fullmatch=True)


def store(found: list[str]) -> None:
    insert([factories.event_row(digest=digest) for digest in found])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(stored=st.lists(digests, min_size=1, max_size=8), beginning=beginnings)
def test_digests_are_read_and_found_as_texts(stored: list[str], beginning: str) -> None:
    with rolled_back():
        store(stored)

        read = Event.objects.order_by("position").values_list("digest", flat=True)
        assert list(read) == stored
        assert list(read.filter(digest=stored[0])) == [each for each in stored if each == stored[0]]
        found = read.filter(digest__startswith=beginning)
        assert list(found) == [each for each in stored if each.startswith(beginning)]
        assert list(read.exclude(digest__startswith=beginning)) == [
            each for each in stored if not each.startswith(beginning)
        ]


def test_digest_takes_few_bytes() -> None:
    store([SHA256])

    with connection.cursor() as cursor:
        cursor.execute("SELECT length(digest) FROM registry_activity_event")
        assert cursor.fetchone() == (33,)


@on_postgresql
@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("pull", {"(id)", "(repository_id, id)", "(actor_name, id)"}),
        ("other", {"(id)", "(repository_id, id)", "(actor_name, id)", "(kind, id)"}),
    ],
)
def test_each_group_of_events_has_only_the_indexes_that_it_needs(group: str, expected: set[str]) -> None:
    """Every index of all events takes about 40 bytes an event."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = %s AND indexdef NOT LIKE '%% WHERE %%'",
            [f"registry_activity_event_{group}"],
        )
        found = [definition.rpartition("btree ")[2] for (definition,) in cursor if "btree" in definition]

    assert sorted(found) == sorted(expected)


@on_postgresql
def test_columns_of_events_need_no_padding() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attalign FROM pg_attribute WHERE attrelid = 'registry_activity_event'::regclass"
            " AND attnum > 0 AND attlen > 0 ORDER BY attnum"
        )
        alignments = "".join(alignment for (alignment,) in cursor)

    assert alignments == "".join(sorted(alignments, key="disc".index))
