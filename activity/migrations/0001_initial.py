import activity.models.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import repositories.utils.fields
import uuid
from django.conf import settings
from django.db import migrations, models
from django.utils import timezone

from activity.storage.partitions import CreatePartitionedModel, create_ahead


def create_first_partitions(apps, schema_editor):
    create_ahead(timezone.now())


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('registry_repositories', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='AutoDeletion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('age', models.PositiveIntegerField(blank=True, help_text='Delete events older than this. Leave empty for no age limit.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='age')),
                ('age_unit', models.CharField(choices=[('hours', 'Hours'), ('days', 'Days'), ('weeks', 'Weeks'), ('months', 'Months')], default='months', max_length=10, verbose_name='age unit')),
                ('max_events', models.PositiveIntegerField(blank=True, help_text='Keep only this many of the newest events. Leave empty for no limit.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='maximum number of events')),
                ('enabled', models.BooleanField(default=False, help_text='While this is off, no events are deleted.', verbose_name='enabled')),
                ('archive', models.BooleanField(default=True, help_text='Write events to the archive storage first, and delete only events that were archived.', verbose_name='archive before deletion')),
            ],
            options={
                'verbose_name': 'auto-deletion',
                'verbose_name_plural': 'auto-deletion',
            },
        ),
        migrations.CreateModel(
            name='DroppedTallies',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_pull', models.BooleanField()),
                ('start', models.DateTimeField()),
                ('end', models.DateTimeField()),
                ('weeks_start', models.DateTimeField()),
                ('weeks_end', models.DateTimeField()),
            ],
            options={
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('program', models.CharField(max_length=50, primary_key=True, serialize=False)),
                ('beat_at', models.DateTimeField()),
                ('trusted_at', models.DateTimeField()),
            ],
            options={
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='MessageBatch',
            fields=[
                ('first', models.BigIntegerField(primary_key=True, serialize=False)),
                ('last', models.BigIntegerField()),
                ('stored_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('content', models.BinaryField()),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='NewestPosition',
            fields=[
                ('id', models.SmallIntegerField(editable=False, primary_key=True, serialize=False)),
                ('position', models.BigIntegerField()),
            ],
            options={
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('preview', models.BooleanField(default=False, verbose_name='preview')),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('waiting', 'Waiting for a person'), ('running', 'Running'), ('finished', 'Finished'), ('stopped', 'Stopped'), ('failed', 'Failed'), ('abandoned', 'Abandoned')], default='queued', max_length=10, verbose_name='state')),
                ('started_by', models.CharField(help_text='A user, the schedule or the command line.', max_length=255, verbose_name='started by')),
                ('cutoff', models.DateTimeField(help_text='Events at or after this time are not deleted. Ages are measured from it.', verbose_name='cutoff')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='started at')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished at')),
                ('lease_until', models.DateTimeField(help_text='If the run shows no progress by this time, it is considered abandoned.', verbose_name='lease until')),
                ('stop_requested', models.BooleanField(default=False, verbose_name='stop requested')),
                ('settings', models.JSONField(help_text="The settings as they were when the run started. Later changes don't affect it.", verbose_name='settings')),
                ('waiting', models.JSONField(default=list, help_text='Changes that had not taken effect when the run started.', verbose_name='waiting changes')),
                ('expected', models.BigIntegerField(help_text='Number of events to delete.', null=True, verbose_name='expected')),
                ('deleted', models.BigIntegerField(default=0, verbose_name='deleted')),
                ('report', models.JSONField(default=dict, help_text='For each rule: the number of events by category, and their time range.', verbose_name='report')),
                ('partitions', models.JSONField(default=dict, help_text='For a preview on PostgreSQL: what a run would do with each old partition.', verbose_name='partitions')),
                ('error', models.TextField(blank=True, verbose_name='error')),
            ],
            options={
                'verbose_name': 'run',
                'verbose_name_plural': 'runs',
                'ordering': ['-pk'],
                'default_permissions': ['change', 'view'],
            },
        ),
        migrations.CreateModel(
            name='Verification',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('started_by', models.CharField(max_length=255, verbose_name='started by')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='started at')),
                ('finished_at', models.DateTimeField(null=True, verbose_name='finished at')),
                ('days', models.JSONField(default=list, verbose_name='days')),
                ('problems', models.JSONField(default=list, verbose_name='problems')),
            ],
            options={
                'verbose_name': 'verification',
                'verbose_name_plural': 'verifications',
                'ordering': ['-pk'],
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='WaitingChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('model', models.CharField(help_text='The model of the changed object.', max_length=100)),
                ('object_id', models.CharField(max_length=100)),
                ('former', models.TextField(blank=True, help_text='The former values of the object as JSON. Empty if the object is new.')),
                ('subject', models.CharField(max_length=500)),
                ('changes', models.JSONField(default=dict)),
                ('changed_by', models.CharField(max_length=255)),
                ('changed_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('effective_at', models.DateTimeField()),
            ],
            options={
                'ordering': ['pk'],
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='Dispute',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('token_key', models.CharField(blank=True, help_text='Leave empty to dispute whatever the account delivered, with any token.', max_length=25, validators=[django.core.validators.RegexValidator('^[0-9a-f]{8,}$', 'Enter the digits as an event shows them.')], verbose_name='first digits of the token')),
                ('since', models.DateTimeField(help_text='Events received at this time or later.', verbose_name='received since')),
                ('until', models.DateTimeField(blank=True, help_text='Leave empty to include all later events.', null=True, verbose_name='received before')),
                ('reason', models.TextField(verbose_name='reason')),
                ('disputed_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='disputed at')),
                ('lifted_at', models.DateTimeField(editable=False, null=True, verbose_name='lifted at')),
                ('account', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account')),
                ('disputed_by', models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='disputed by')),
            ],
            options={
                'verbose_name': 'dispute',
                'verbose_name_plural': 'disputes',
                'ordering': ['-disputed_at', '-pk'],
                'default_permissions': ['add', 'change', 'view'],
            },
        ),
        migrations.CreateModel(
            name='Import',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('archive_name', models.CharField(max_length=255, verbose_name='archive name')),
                ('sha256', models.CharField(max_length=64, verbose_name='sha256')),
                ('foreign', models.BooleanField(default=False, help_text='Whether another installation wrote the archive.', verbose_name='foreign')),
                ('imported_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='imported at')),
                ('released_at', models.DateTimeField(blank=True, null=True, verbose_name='released at')),
                ('events', models.PositiveIntegerField(default=0, verbose_name='events')),
            ],
            options={
                'verbose_name': 'import',
                'verbose_name_plural': 'imports',
                'ordering': ['-pk'],
                'default_permissions': ['change', 'view'],
                'constraints': [models.UniqueConstraint(fields=('archive_name', 'sha256'), name='unique_import')],
            },
        ),
        migrations.CreateModel(
            name='JournalEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source', models.SmallIntegerField(choices=[(1, 'Registry notification'), (2, 'Action in this application')])),
                ('token_key', models.CharField(blank=True, max_length=25)),
                ('received_at', models.DateTimeField()),
                ('content', models.BinaryField()),
                ('size', models.BigIntegerField()),
                ('account', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name_plural': 'journal entries',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='LedgerEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('cause', models.CharField(max_length=40)),
                ('events', models.BigIntegerField()),
            ],
            options={
                'verbose_name_plural': 'ledger entries',
                'default_permissions': ['view'],
                'constraints': [models.UniqueConstraint(fields=('day', 'cause'), name='unique_ledger_entry')],
            },
        ),
        migrations.CreateModel(
            name='ManifestRequest',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('client', models.CharField(max_length=64)),
                ('request_id', models.CharField(max_length=64)),
                ('is_head', models.BooleanField()),
                ('is_index', models.BooleanField()),
                ('tag', models.CharField(max_length=128)),
                ('digest', models.CharField(max_length=255)),
                ('references', models.TextField()),
                ('pull', models.UUIDField(null=True)),
                ('received_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                'default_permissions': ['view'],
                'indexes': [models.Index(fields=['client', 'id'], name='manifest_request_client')],
            },
        ),
        migrations.CreateModel(
            name='NewestEvents',
            fields=[
                ('repository_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('readable', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
                ('restricted', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
                ('pull', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
            ],
            options={
                'verbose_name_plural': 'newest events',
                'default_permissions': [],
                'indexes': [models.Index(fields=['-readable', 'repository_id'], name='newest_readable'), models.Index(fields=['-restricted', 'repository_id'], name='newest_restricted'), models.Index(fields=['-pull', 'repository_id'], name='newest_pull')],
            },
        ),
        migrations.CreateModel(
            name='Registry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(editable=False, help_text='The last known name of the account.', max_length=255, verbose_name='name')),
                ('last_contact_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, help_text="When the registry last delivered a message, to the minute, by this server's clock.", verbose_name='last contact at')),
                ('quiet_after', models.PositiveIntegerField(default=24, help_text='Report the registry as quiet if it delivers nothing for longer than this.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(8784)], verbose_name='quiet after (hours)')),
                ('account', models.OneToOneField(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='registry', to=settings.AUTH_USER_MODEL, verbose_name='account')),
            ],
            options={
                'verbose_name': 'registry',
                'verbose_name_plural': 'registries',
                'ordering': ['last_contact_at'],
            },
        ),
        migrations.CreateModel(
            name='Removal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('lowest', models.BigIntegerField()),
                ('highest', models.BigIntegerField()),
            ],
            options={
                'default_permissions': ['view'],
                'indexes': [models.Index(fields=['highest'], name='removal_highest')],
            },
        ),
        migrations.CreateModel(
            name='Archive',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='File name in the archive storage.', max_length=255, unique=True, verbose_name='name')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created at')),
                ('written_at', models.DateTimeField(help_text='Empty if the file was never completed.', null=True, verbose_name='written at')),
                ('deletion_started_at', models.DateTimeField(help_text='When the first of its events was deleted from the database.', null=True, verbose_name='deletion started at')),
                ('deleted_at', models.DateTimeField(help_text='When the last of its events was deleted from the database.', null=True, verbose_name='deleted at')),
                ('events', models.PositiveIntegerField(default=0, verbose_name='events')),
                ('first_id', models.UUIDField(null=True, verbose_name='first id')),
                ('last_id', models.UUIDField(null=True, verbose_name='last id')),
                ('sha256', models.CharField(blank=True, max_length=64, verbose_name='sha256')),
                ('days', models.JSONField(default=dict, editable=False, verbose_name='days')),
                ('rules', models.JSONField(default=list, help_text='The rules that deleted the events.', verbose_name='rules')),
                ('repositories', models.JSONField(default=list, help_text='The repositories with the most events.', verbose_name='repositories')),
                ('run', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='archives', to='registry_activity.run', verbose_name='run')),
            ],
            options={
                'verbose_name': 'archive',
                'verbose_name_plural': 'archives',
                'ordering': ['-pk'],
                'default_permissions': ['change', 'view'],
            },
        ),
        migrations.CreateModel(
            name='Text',
            fields=[
                ('id', models.AutoField(primary_key=True, serialize=False)),
                ('value', models.CharField(max_length=255)),
            ],
            options={
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('value',), name='unique_text')],
            },
        ),
        CreatePartitionedModel(
            name='Event',
            fields=[
                ('size', models.BigIntegerField(null=True)),
                ('client_port', models.IntegerField(null=True)),
                ('request_id', models.UUIDField(null=True)),
                ('notification_id', models.UUIDField(null=True)),
                ('client_address', models.GenericIPAddressField(null=True)),
                ('more_details', models.JSONField(null=True)),
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False, verbose_name='id')),
                ('occurred_at', models.DateTimeField()),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('position', models.BigIntegerField(editable=False)),
                ('kind', activity.models.fields.KindField(verbose_name='kind')),
                ('is_pull', models.BooleanField(default=False)),
                ('repository_name', models.CharField(max_length=255)),
                ('tag', models.CharField(blank=True, max_length=128, verbose_name='tag')),
                ('digest', activity.models.fields.DigestField(blank=True, max_length=255, verbose_name='digest')),
                ('pull', models.UUIDField(editable=False, null=True)),
                ('actor_type', models.CharField(choices=[('user', 'User'), ('anonymous', 'Anonymous'), ('unnamed', 'Unnamed account'), ('promotion', 'Promotion policy'), ('pruning', 'Pruning policy'), ('push_mirroring', 'Push mirroring policy'), ('pull_mirroring', 'Pull mirroring policy'), ('manual_promotion', 'Manual promotion'), ('system', 'System')], max_length=20, verbose_name='actor type')),
                ('actor_name', models.CharField(blank=True, max_length=255)),
                ('delivered_with', models.CharField(blank=True, max_length=25)),
                ('actor_user', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('delivered_by', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('policy', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_repositories.policy')),
                ('repository', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_repositories.repository')),
                ('subject_user', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('imported', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_activity.import', verbose_name='imported')),
                ('media_type', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_activity.text')),
                ('node', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_activity.text')),
                ('user_agent', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_activity.text')),
            ],
            options={
                'verbose_name': 'event',
                'verbose_name_plural': 'events',
                'ordering': ['-id'],
                'default_permissions': ['add', 'view'],
            },
        ),
        migrations.CreateModel(
            name='DeadLetter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('fingerprint', models.CharField(editable=False, help_text='SHA-256 of source, account, size and content.', max_length=64, unique=True, verbose_name='fingerprint')),
                ('source', models.CharField(choices=[('registry', 'Registry notification'), ('producer', 'Events API'), ('application', 'This application')], max_length=11, verbose_name='source')),
                ('token_key', models.CharField(blank=True, editable=False, max_length=25, verbose_name='token key')),
                ('received_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name='received at')),
                ('reason', models.CharField(max_length=500, verbose_name='reason')),
                ('content', models.BinaryField(help_text='The raw bytes of the message.', verbose_name='content')),
                ('size', models.BigIntegerField(help_text='Size of the whole message, in bytes.', verbose_name='size')),
                ('replayed_at', models.DateTimeField(editable=False, null=True, verbose_name='replayed at')),
                ('dismissed_at', models.DateTimeField(editable=False, null=True, verbose_name='dismissed at')),
                ('note', models.TextField(blank=True, editable=False, help_text='Why the message was dismissed.', verbose_name='note')),
                ('account', models.ForeignKey(help_text='The account that delivered the message.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='account')),
                ('dismissed_by', models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='dismissed by')),
            ],
            options={
                'verbose_name': 'dead letter',
                'verbose_name_plural': 'dead letters',
                'ordering': ['-received_at', '-pk'],
                'default_permissions': ['change', 'view'],
                'indexes': [models.Index(condition=models.Q(('dismissed_at', None), ('replayed_at', None)), fields=['received_at', 'id'], name='dead_letter_waiting')],
            },
        ),
        migrations.CreateModel(
            name='DeletionRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('age', models.PositiveIntegerField(blank=True, help_text='Delete events older than this. Leave empty for no age limit.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='age')),
                ('age_unit', models.CharField(choices=[('hours', 'Hours'), ('days', 'Days'), ('weeks', 'Weeks'), ('months', 'Months')], default='months', max_length=10, verbose_name='age unit')),
                ('max_events', models.PositiveIntegerField(blank=True, help_text='Keep only this many of the newest events. Leave empty for no limit.', null=True, validators=[django.core.validators.MinValueValidator(1)], verbose_name='maximum number of events')),
                ('category', models.CharField(blank=True, choices=[('push', 'Push'), ('scan', 'Scan'), ('delete', 'Delete'), ('create_repo', 'Create repo'), ('promotion', 'Promotion'), ('pull', 'Pull'), ('mirror', 'Mirror'), ('pruning', 'Pruning'), ('access', 'Access'), ('account', 'Account'), ('system', 'System'), ('failed_logins', 'Failed logins')], help_text='Leave empty for all repository events, which excludes Access, Account and System.', max_length=20, verbose_name='category')),
                ('max_per', models.CharField(choices=[('repository', 'each repository'), ('rule', 'the rule as a whole')], default='repository', max_length=10, verbose_name='maximum applies to')),
                ('namespace', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.namespace', verbose_name='namespace')),
                ('repository', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.repository', verbose_name='repository')),
            ],
            options={
                'verbose_name': 'deletion rule',
                'verbose_name_plural': 'deletion rules',
                'constraints': [models.UniqueConstraint(condition=models.Q(('repository__isnull', False)), fields=('repository', 'category'), name='unique_rule_per_repository', violation_error_message='A rule for this repository and category already exists.'), models.UniqueConstraint(condition=models.Q(('namespace__isnull', False)), fields=('namespace', 'category'), name='unique_rule_per_namespace', violation_error_message='A rule for this namespace and category already exists.'), models.UniqueConstraint(condition=models.Q(('namespace__isnull', True), ('repository__isnull', True)), fields=('category',), name='unique_registry_wide_rule', violation_error_message='A registry-wide rule for this category already exists.'), models.CheckConstraint(condition=models.Q(('repository__isnull', True), ('namespace__isnull', True), _connector='OR'), name='rule_has_one_scope'), models.CheckConstraint(condition=models.Q(models.Q(('category__in', ['access', 'account', 'system', 'failed_logins']), _negated=True), ('max_events__isnull', True), _connector='OR'), name='maximum_only_for_repository_events', violation_error_message='Access, account and system events can be deleted only by age.')],
            },
        ),
        migrations.CreateModel(
            name='FailedLogins',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('username', models.CharField(max_length=255)),
                ('network', models.CharField(max_length=50)),
                ('start', models.DateTimeField()),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('event', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='failed_logins', to='registry_activity.event')),
            ],
            options={
                'verbose_name_plural': 'failed logins',
                'default_permissions': ['view'],
                'constraints': [models.UniqueConstraint(fields=('network', 'start', 'username'), name='one_failed_logins_count')],
            },
        ),
        migrations.CreateModel(
            name='Hold',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.TextField(verbose_name='reason')),
                ('set_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='set at')),
                ('namespace', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.namespace', verbose_name='namespace')),
                ('repository', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.repository', verbose_name='repository')),
                ('set_by', models.ForeignKey(editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='set by')),
            ],
            options={
                'verbose_name': 'hold',
                'verbose_name_plural': 'holds',
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('namespace__isnull', False), ('repository__isnull', True)), models.Q(('namespace__isnull', True), ('repository__isnull', False)), _connector='OR'), name='hold_has_one_scope')],
            },
        ),
        migrations.CreateModel(
            name='Manifest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.CharField(max_length=255)),
                ('last_push', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
                ('last_deletion', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
                ('last_scan', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
                ('repository', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_repositories.repository')),
            ],
            options={
                'default_permissions': ['view'],
                'constraints': [models.UniqueConstraint(fields=('repository', 'digest'), name='unique_manifest')],
            },
        ),
        migrations.CreateModel(
            name='RegistryNode',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('instance_id', models.CharField(max_length=255)),
                ('address', models.CharField(max_length=255)),
                ('first_event_at', models.DateTimeField()),
                ('last_event_at', models.DateTimeField()),
                ('clock_offset', models.DurationField(null=True)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'default_permissions': ['view'],
                'constraints': [models.UniqueConstraint(fields=('account', 'instance_id'), name='unique_registry_node')],
            },
        ),
        migrations.CreateModel(
            name='Tag',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=128)),
                ('image', models.CharField(blank=True, max_length=71)),
                ('last_push', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
                ('digest', models.CharField(blank=True, max_length=255)),
                ('stem', models.GeneratedField(db_persist=True, expression=django.db.models.functions.text.Left('digest', 71), output_field=models.CharField(max_length=71))),
                ('pushed_by_type', models.CharField(blank=True, choices=[('user', 'User'), ('anonymous', 'Anonymous'), ('unnamed', 'Unnamed account'), ('promotion', 'Promotion policy'), ('pruning', 'Pruning policy'), ('push_mirroring', 'Push mirroring policy'), ('pull_mirroring', 'Pull mirroring policy'), ('manual_promotion', 'Manual promotion'), ('system', 'System')], max_length=20)),
                ('pushed_by_name', models.CharField(blank=True, max_length=255)),
                ('last_deletion', models.UUIDField(default=uuid.UUID('00000000-0000-0000-0000-000000000000'))),
                ('pulls', models.BigIntegerField(default=0)),
                ('pulled_at', models.DateTimeField(null=True)),
                ('requested_at', models.DateTimeField(null=True)),
                ('pushed_by_user', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('repository', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='tags', to='registry_repositories.repository')),
            ],
            options={
                'default_permissions': ['view'],
                'indexes': [models.Index(condition=models.Q(('last_push__gt', models.F('last_deletion'))), fields=['repository', 'name'], name='tag_name'), models.Index(condition=models.Q(('last_push__gt', models.F('last_deletion'))), fields=['repository', 'last_push'], name='tag_push'), models.Index(condition=models.Q(('last_push__gt', models.F('last_deletion'))), fields=['repository', 'image'], name='tag_image'), models.Index(condition=models.Q(('last_push__gt', models.F('last_deletion'))), fields=['repository', 'stem'], name='tag_stem')],
                'constraints': [models.UniqueConstraint(fields=('repository', 'name'), name='unique_tag_name')],
            },
        ),
        migrations.CreateModel(
            name='TagPull',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=128)),
                ('pulls', models.BigIntegerField()),
                ('pulled_at', models.DateTimeField()),
                ('repository', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_repositories.repository')),
            ],
            options={
                'default_permissions': ['view'],
                'indexes': [models.Index(fields=['repository', 'name'], name='tag_pull_name')],
            },
        ),
        migrations.CreateModel(
            name='Tally',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('unit', models.SmallIntegerField(choices=[(1, 'half hour'), (2, 'Day'), (3, 'Week')])),
                ('start', models.DateTimeField()),
                ('category', activity.models.fields.TalliedCategoryField()),
                ('is_pull', models.BooleanField()),
                ('events', models.BigIntegerField()),
                ('repository', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_repositories.repository')),
            ],
            options={
                'verbose_name_plural': 'tallies',
                'default_permissions': ['view'],
                'indexes': [models.Index(fields=['unit', 'start', 'category', 'repository', 'is_pull', 'events'], name='tally_by_time'), models.Index(condition=models.Q(('events', 0)), fields=['id'], name='tally_empty')],
                'constraints': [models.UniqueConstraint(fields=('repository', 'unit', 'start', 'category'), name='unique_tally')],
            },
        ),
        migrations.CreateModel(
            name='TallyChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('start', models.DateTimeField()),
                ('category', activity.models.fields.TalliedCategoryField()),
                ('is_pull', models.BooleanField()),
                ('events', models.BigIntegerField()),
                ('cause', models.CharField(blank=True, db_default='recorded', default='recorded', max_length=40)),
                ('repository', repositories.utils.fields.UnconstrainedForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='registry_repositories.repository')),
            ],
            options={
                'default_permissions': ['view'],
                'indexes': [models.Index(fields=['repository', 'start'], name='tally_change_repository')],
            },
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['repository', 'id'], name='event_repository'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=activity.models.fields.SQLiteIndex(condition=models.Q(('is_pull', False)), fields=['repository', 'id'], name='event_repository_without_pulls'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=activity.models.fields.SQLiteIndex(condition=models.Q(('is_pull', False)), fields=['id'], name='event_without_pulls'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=activity.models.fields.IndexWithoutPulls(condition=models.Q(('is_pull', False)), fields=['kind', 'id'], name='event_kind'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(fields=['actor_name', 'id'], name='event_actor'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=activity.models.fields.IndexWithoutPulls(condition=models.Q(('actor_user__isnull', False), ('is_pull', False), ('repository', None)), fields=['actor_user', 'id'], name='event_account'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=activity.models.fields.IndexWithoutPulls(condition=models.Q(('is_pull', False), ('tag__gt', '')), fields=['tag', 'id'], name='event_tag'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=activity.models.fields.IndexWithoutPulls(condition=models.Q(('digest__gt', ''), ('is_pull', False)), fields=['digest', 'id'], name='event_digest'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(condition=models.Q(('subject_user__isnull', False)), fields=['subject_user', 'id'], name='event_subject'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=activity.models.fields.BlockRangeIndex(fields=['position'], name='event_position'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(condition=models.Q(('imported__isnull', False)), fields=['imported'], name='event_imported'),
        ),
        migrations.AddIndex(
            model_name='event',
            index=models.Index(condition=models.Q(('policy__isnull', False)), fields=['policy', 'id'], name='event_policy'),
        ),
        migrations.RunPython(create_first_partitions, migrations.RunPython.noop),
    ]
