"""Celery beat's schedule. From here on it is edited in the admin."""

from django.db import migrations

from activity import schedule


def create_schedule(apps, schema_editor):
    schedule.restore(schedule.SCHEDULE, apps)


def remove_schedule(apps, schema_editor):
    """Remove what isn't a table, and would stay behind in a site that removes the app."""
    tasks = [task for task, _ in schedule.SCHEDULE.values()]
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(task__in=tasks).delete()
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION IF EXISTS registry_activity_append_only() CASCADE")


class Migration(migrations.Migration):
    dependencies = [
        ("registry_activity", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(create_schedule, remove_schedule)]
