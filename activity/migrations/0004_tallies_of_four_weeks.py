"""Adds the tallies of four weeks, and includes all that charts need in the index by repository."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.db import migrations, models

WEEK, FOUR_WEEKS = 3, 4
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
"""The origin of all periods."""
LENGTH = timedelta(weeks=4)

COLUMNS = "(repository_id, unit, start, category)"
REPLACE_CONSTRAINT = """
    ALTER TABLE registry_activity_tally
        DROP CONSTRAINT unique_tally, ADD CONSTRAINT unique_tally UNIQUE {columns}
"""


def replace_constraint(schema_editor, columns):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(REPLACE_CONSTRAINT.format(columns=columns))


def include_counts(apps, schema_editor):
    replace_constraint(schema_editor, f"{COLUMNS} INCLUDE (is_pull, events)")


def exclude_counts(apps, schema_editor):
    replace_constraint(schema_editor, COLUMNS)


def start_of(moment):
    return moment - (moment - MONDAY) % LENGTH


def add_tallies(apps, schema_editor):
    """Add up the tallies of weeks. Folding recalculates those that `DroppedTallies` marks as invalid."""
    Tally = apps.get_model("registry_activity", "Tally")
    weeks = Tally.objects.filter(unit=WEEK).order_by("repository")
    rows = weeks.values_list("repository", "start", "category", "is_pull", "events").iterator()
    for repository, of_repository in groupby(rows, key=lambda row: row[0]):
        sums = Counter()
        for _, start, category, is_pull, events in of_repository:
            sums[start_of(start), category, is_pull] += events
        Tally.objects.bulk_create(
            Tally(
                repository_id=repository,
                unit=FOUR_WEEKS,
                start=start,
                category=category,
                is_pull=is_pull,
                events=number,
            )
            for (start, category, is_pull), number in sums.items()
        )
    for dropped in apps.get_model("registry_activity", "DroppedTallies").objects.all():
        dropped.weeks_start = start_of(dropped.weeks_start)
        dropped.weeks_end = start_of(dropped.weeks_end + LENGTH - timedelta.resolution)
        dropped.save()


def delete_tallies(apps, schema_editor):
    apps.get_model("registry_activity", "Tally").objects.filter(unit=FOUR_WEEKS).delete()


class Migration(migrations.Migration):
    dependencies = [("registry_activity", "0003_reason_for_auto_deletion_settings")]
    operations = [
        migrations.AlterField(
            model_name="tally",
            name="unit",
            field=models.SmallIntegerField(
                choices=[(1, "half hour"), (2, "Day"), (3, "Week"), (4, "Four Weeks")]
            ),
        ),
        migrations.RunPython(include_counts, exclude_counts),
        migrations.RunPython(add_tallies, delete_tallies),
    ]
