"""Create the default schedule, which can be edited in the admin afterwards."""

from django.db import migrations

from activity import schedule
from msr_project.apps import SCHEDULE


def make_schedule(apps, schema_editor):
    schedule.restore(SCHEDULE, apps)


class Migration(migrations.Migration):
    dependencies = [("django_celery_beat", "0019_alter_periodictasks_options")]
    operations = [migrations.RunPython(make_schedule, migrations.RunPython.noop)]
