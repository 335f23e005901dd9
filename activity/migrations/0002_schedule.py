"""The schedule, from here on edited in the admin."""

from django.db import migrations

TASKS = {
    "Auto-delete events": ("activity.tasks.delete_events", {"hour": "0", "minute": "0"}),
    "Make partitions of the event table": ("activity.tasks.make_partitions", {"hour": "3", "minute": "15"}),
    "Fold counts of events": ("activity.tasks.fold_tallies", {"hour": "*", "minute": "*"}),
}


def make_schedule(apps, schema_editor):
    Crontab = apps.get_model("django_celery_beat", "CrontabSchedule")
    Task = apps.get_model("django_celery_beat", "PeriodicTask")
    for name, (task, when) in TASKS.items():
        crontab, _ = Crontab.objects.get_or_create(timezone="UTC", **when)
        Task.objects.get_or_create(name=name, defaults={"task": task, "crontab": crontab})


class Migration(migrations.Migration):
    dependencies = [
        ("activity", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(make_schedule, migrations.RunPython.noop)]
