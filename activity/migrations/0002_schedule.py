"""Celery beat's schedule. From here on it is edited in the admin."""

from django.db import migrations

TASKS = {
    "Auto-delete events": ("activity.tasks.delete_events", {"hour": "0", "minute": "0"}),
    "Create partitions of the event table": ("activity.tasks.create_partitions", {"hour": "3", "minute": "15"}),
    "Preview waiting changes to auto-deletion": (
        "activity.tasks.preview_waiting_changes",
        {"hour": "*", "minute": "*"},
    ),
    "Delete counts of failed logins": ("activity.tasks.delete_failed_logins", {"hour": "3", "minute": "30"}),
    "Fold tallies": ("activity.tasks.fold_tallies", {"hour": "*", "minute": "*"}),
}


def create_schedule(apps, schema_editor):
    Crontab = apps.get_model("django_celery_beat", "CrontabSchedule")
    Task = apps.get_model("django_celery_beat", "PeriodicTask")
    for name, (task, when) in TASKS.items():
        crontab, _ = Crontab.objects.get_or_create(timezone="UTC", **when)
        Task.objects.get_or_create(name=name, defaults={"task": task, "crontab": crontab})


class Migration(migrations.Migration):
    dependencies = [
        ("registry_activity", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]
    operations = [migrations.RunPython(create_schedule, migrations.RunPython.noop)]
