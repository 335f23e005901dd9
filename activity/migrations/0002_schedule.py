"""Celery beat's schedule. From here on it is edited in the admin."""

from django.db import migrations

from activity import schedule


def create_schedule(apps, schema_editor):
    schedule.restore(schedule.SCHEDULE, apps)


class Migration(migrations.Migration):
    dependencies = [
        ("registry_activity", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(create_schedule, migrations.RunPython.noop)]
