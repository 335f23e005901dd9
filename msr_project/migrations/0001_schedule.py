"""Create the default schedule, which can be edited in the admin afterwards."""

from django.db import migrations


def make_schedule(apps, schema_editor):
    Crontab = apps.get_model("django_celery_beat", "CrontabSchedule")
    Task = apps.get_model("django_celery_beat", "PeriodicTask")
    crontab, _ = Crontab.objects.get_or_create(timezone="UTC", hour="4", minute="30")
    Task.objects.get_or_create(
        name="Clear expired sessions",
        defaults={"task": "msr_project.tasks.clear_expired_sessions", "crontab": crontab},
    )


class Migration(migrations.Migration):
    dependencies = [("django_celery_beat", "0019_alter_periodictasks_options")]
    operations = [migrations.RunPython(make_schedule, migrations.RunPython.noop)]
