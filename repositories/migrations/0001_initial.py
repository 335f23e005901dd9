import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import repositories.accounts.restrictions
import repositories.models
import repositories.policies.models
import repositories.policies.tag_templates
import repositories.utils.fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Counter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=64, unique=True)),
                ('group', models.CharField(blank=True, db_index=True, max_length=64)),
                ('count', models.PositiveIntegerField(default=0)),
                ('expires_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='Policy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(default=repositories.policies.models.new_policy_id, editable=False, max_length=8, unique=True, verbose_name='id')),
                ('kind', models.CharField(choices=[('promotion', 'Promotion'), ('pruning', 'Pruning'), ('push_mirroring', 'Push mirroring'), ('pull_mirroring', 'Pull mirroring')], max_length=20, verbose_name='kind')),
                ('enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created at')),
                ('remote_registry', models.CharField(blank=True, help_text='The address of the registry, such as https://registry.example.com.', max_length=255, validators=[repositories.policies.models.validate_registry], verbose_name='remote registry')),
                ('remote_repository', models.CharField(blank=True, help_text="The repository's full name in the remote registry, such as acme/web.", max_length=255, validators=[repositories.policies.models.validate_name], verbose_name='remote repository')),
                ('tag_template', models.CharField(blank=True, help_text='You can use these placeholders: %n (the tag itself), %Y (the year), %m (the month, 01 to 12), %d (the day, 01 to 31), %H (the hour, 00 to 23), %M (the minute), %S (the second). Times are in UTC.', max_length=128, validators=[repositories.policies.tag_templates.validate], verbose_name='new tag name')),
                ('interval', models.PositiveSmallIntegerField(blank=True, choices=[(1, 'every hour'), (6, 'every 6 hours'), (24, 'every day'), (168, 'every week')], help_text='How often the repository is mirrored. All of its tags are mirrored each time.', null=True, verbose_name='interval')),
            ],
            options={
                'verbose_name': 'policy',
                'verbose_name_plural': 'policies',
                'ordering': ['repository', 'kind', 'public_id'],
            },
        ),
        migrations.CreateModel(
            name='RegistrySettings',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scanning_enabled', models.BooleanField(default=False, help_text='If disabled, the scan filter is hidden, and scan events are stored as dead letters.', verbose_name='security scanning')),
            ],
            options={
                'verbose_name': 'registry settings',
                'verbose_name_plural': 'registry settings',
                'permissions': [('audit_registry', 'Can see every repository and every event'), ('administer_registry', 'Can do everything in every repository')],
            },
        ),
        migrations.CreateModel(
            name='AccessToken',
            fields=[
                ('digest', models.CharField(max_length=128, primary_key=True, serialize=False)),
                ('token_key', models.CharField(db_index=True, max_length=25)),
                ('created', models.DateTimeField(auto_now_add=True)),
                ('expiry', models.DateTimeField(blank=True, null=True)),
                ('name', models.CharField(blank=True, max_length=100, verbose_name='name')),
                ('can_read', models.BooleanField(default=True, help_text='Includes the names of the repositories that the owner can see.', verbose_name='read events')),
                ('can_write', models.BooleanField(default=False, help_text='For registries, scanners and others. The owner needs the permission to add events.', verbose_name='write events')),
                ('restricted_to', models.TextField(blank=True, help_text="A namespace, such as acme/*, or a repository, such as acme/web, on each line. Leave empty for no restriction, which a registry's token needs.", validators=[repositories.accounts.restrictions.validate_restriction], verbose_name='only in')),
                ('last_used_at', models.DateTimeField(editable=False, null=True, verbose_name='last used at')),
                ('last_used_from', models.GenericIPAddressField(editable=False, null=True, verbose_name='last used from')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='access_tokens', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'access token',
                'verbose_name_plural': 'access tokens',
                'ordering': ['-created', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='Login',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('session_key', models.CharField(max_length=40, unique=True)),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='logins', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('owner', 'Owner'), ('member', 'Member')], default='member', max_length=10, verbose_name='role')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'membership',
                'verbose_name_plural': 'memberships',
            },
        ),
        migrations.CreateModel(
            name='Organization',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=70, unique=True, validators=[django.core.validators.RegexValidator('^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\\[[0-9A-Fa-f:]+\\])(?::[0-9]+)?|[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*)\\Z', 'Use letters and digits, with single separators (. _ -) between them.'), repositories.models.validate_not_reserved], verbose_name='name')),
                ('users', models.ManyToManyField(related_name='organizations', through='registry_repositories.Membership', to=settings.AUTH_USER_MODEL, verbose_name='users')),
            ],
            options={
                'verbose_name': 'organization',
                'verbose_name_plural': 'organizations',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Namespace',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=255, unique=True, verbose_name='name')),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='namespaces', to=settings.AUTH_USER_MODEL, verbose_name='user')),
                ('organization', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='namespaces', to='registry_repositories.organization', verbose_name='organization')),
            ],
            options={
                'verbose_name': 'namespace',
                'verbose_name_plural': 'namespaces',
                'ordering': ['name'],
                'permissions': [('level_read', 'Access level read'), ('level_read_write', 'Access level read-write'), ('level_admin', 'Access level admin'), ('view_push_events', 'Can view push events'), ('view_scan_events', 'Can view scan events'), ('view_delete_events', 'Can view delete events'), ('view_create_repo_events', 'Can view create repo events'), ('view_promotion_events', 'Can view promotion events'), ('view_pull_events', 'Can view pull events'), ('view_mirror_events', 'Can view mirror events'), ('view_pruning_events', 'Can view pruning events'), ('view_access_events', 'Can view access events')],
            },
        ),
        migrations.AddField(
            model_name='membership',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='registry_repositories.organization', verbose_name='organization'),
        ),
        migrations.CreateModel(
            name='Criterion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('operator', models.CharField(choices=[('equals', 'tag equals'), ('starts_with', 'tag starts with'), ('ends_with', 'tag ends with'), ('contains', 'tag contains'), ('one_of', 'tag is one of'), ('not_one_of', 'tag is not one of'), ('not_pulled_for', 'not pulled for … days'), ('pushed_before', 'pushed more than … days ago'), ('all_but_newest', 'all but the newest …')], max_length=20, verbose_name='criterion')),
                ('value', models.CharField(max_length=1000, verbose_name='value')),
                ('policy', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='criteria', to='registry_repositories.policy', verbose_name='policy')),
            ],
            options={
                'verbose_name': 'criterion',
                'verbose_name_plural': 'criteria',
                'ordering': ['pk'],
            },
        ),
        migrations.CreateModel(
            name='Profile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('time_zone', repositories.utils.fields.TimeZoneField(blank=True, choices_display='WITH_GMT_OFFSET', null=True, verbose_name='time zone')),
                ('time_zone_guessed', models.BooleanField(default=False, editable=False, verbose_name='time zone guessed')),
                ('theme', models.CharField(blank=True, choices=[('', 'Same as my system'), ('light', 'Light'), ('dark', 'Dark')], default='', max_length=5, verbose_name='theme')),
                ('is_service_account', models.BooleanField(default=False, help_text='Nobody can log in to a service account. Programs use it with access tokens.', verbose_name='service account')),
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL, verbose_name='user')),
            ],
            options={
                'verbose_name': 'profile',
                'verbose_name_plural': 'profiles',
            },
        ),
        migrations.CreateModel(
            name='Repository',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='The name after the namespace. It can contain slashes.', max_length=255, verbose_name='name')),
                ('full_name', repositories.models.FullNameField(editable=False, max_length=255, verbose_name='full name')),
                ('visibility', models.CharField(choices=[('private', 'Private'), ('public', 'Public')], default='private', max_length=10, verbose_name='visibility')),
                ('description', models.TextField(blank=True, verbose_name='description')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, null=True, verbose_name='created at')),
                ('known_since', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='known since')),
                ('deleted_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='deleted at')),
                ('last_push', models.DateTimeField(editable=False, null=True, verbose_name='last push')),
                ('last_pull', models.DateTimeField(editable=False, null=True, verbose_name='last pull')),
                ('namespace', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='repositories', to='registry_repositories.namespace', verbose_name='namespace')),
            ],
            options={
                'verbose_name': 'repository',
                'verbose_name_plural': 'repositories',
                'ordering': ['namespace__name', 'name'],
                'permissions': [('level_read', 'Access level read'), ('level_read_write', 'Access level read-write'), ('level_admin', 'Access level admin'), ('view_push_events', 'Can view push events'), ('view_scan_events', 'Can view scan events'), ('view_delete_events', 'Can view delete events'), ('view_create_repo_events', 'Can view create repo events'), ('view_promotion_events', 'Can view promotion events'), ('view_pull_events', 'Can view pull events'), ('view_mirror_events', 'Can view mirror events'), ('view_pruning_events', 'Can view pruning events'), ('view_access_events', 'Can view access events')],
            },
        ),
        migrations.AddField(
            model_name='policy',
            name='repository',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='policies', to='registry_repositories.repository', verbose_name='repository'),
        ),
        migrations.AddField(
            model_name='policy',
            name='target',
            field=models.ForeignKey(blank=True, help_text='The repository in this registry that tags are promoted to.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='registry_repositories.repository', verbose_name='target repository'),
        ),
        migrations.CreateModel(
            name='RepositoryGroupPermission',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('expires_at', models.DateTimeField(blank=True, db_index=True, null=True, verbose_name='until')),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.repository', verbose_name='content object')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.group')),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
            ],
            options={
                'verbose_name': 'grant on a repository to a team',
                'verbose_name_plural': 'grants on repositories to teams',
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='RepositoryUserPermission',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('expires_at', models.DateTimeField(blank=True, db_index=True, null=True, verbose_name='until')),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.repository', verbose_name='content object')),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'grant on a repository to a user',
                'verbose_name_plural': 'grants on repositories to users',
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='RoleGroup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('msr_admins', 'MSR admins'), ('auditors', 'Security auditors')], max_length=10, unique=True)),
                ('group', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='role', to='auth.group')),
            ],
            options={
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='Team',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=70, validators=[django.core.validators.RegexValidator('^[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*\\Z', 'Use lowercase letters and digits, with single separators (. _ -) between them.')], verbose_name='name')),
                ('group', models.OneToOneField(editable=False, on_delete=django.db.models.deletion.CASCADE, to='auth.group', verbose_name='group')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='teams', to='registry_repositories.organization', verbose_name='organization')),
            ],
            options={
                'verbose_name': 'team',
                'verbose_name_plural': 'teams',
                'ordering': ['organization__name', 'name'],
            },
        ),
        migrations.CreateModel(
            name='NamespaceGroupPermission',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('expires_at', models.DateTimeField(blank=True, db_index=True, null=True, verbose_name='until')),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.namespace', verbose_name='content object')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.group')),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
            ],
            options={
                'verbose_name': 'grant on a namespace to a team',
                'verbose_name_plural': 'grants on namespaces to teams',
                'abstract': False,
                'unique_together': {('group', 'permission', 'content_object')},
            },
        ),
        migrations.CreateModel(
            name='NamespaceUserPermission',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('expires_at', models.DateTimeField(blank=True, db_index=True, null=True, verbose_name='until')),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='registry_repositories.namespace', verbose_name='content object')),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'grant on a namespace to a user',
                'verbose_name_plural': 'grants on namespaces to users',
                'abstract': False,
                'unique_together': {('user', 'permission', 'content_object')},
            },
        ),
        migrations.AddConstraint(
            model_name='namespace',
            constraint=models.CheckConstraint(condition=models.Q(('user__isnull', True), ('organization__isnull', True), _connector='OR'), name='namespace_of_one_owner', violation_error_message='A namespace can belong to a user or to an organization, but not to both.'),
        ),
        migrations.AddConstraint(
            model_name='namespace',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('name', '_'), _negated=True), models.Q(('organization__isnull', True), ('user__isnull', True)), _connector='OR'), name='library_without_owner'),
        ),
        migrations.AddConstraint(
            model_name='namespace',
            constraint=models.CheckConstraint(condition=models.Q(('name__contains', '/'), _negated=True), name='namespace_of_one_component'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('organization', 'user'), name='one_membership'),
        ),
        migrations.AddIndex(
            model_name='repository',
            index=models.Index(fields=['namespace', 'name'], name='repository_by_name'),
        ),
        migrations.AddIndex(
            model_name='repository',
            index=models.Index(condition=models.Q(('deleted_at__isnull', False)), fields=['full_name'], name='deleted_repository_by_name'),
        ),
        migrations.AddConstraint(
            model_name='repository',
            constraint=models.UniqueConstraint(condition=models.Q(('deleted_at__isnull', True)), fields=('full_name',), name='one_live_repository_of_a_name'),
        ),
        migrations.AddConstraint(
            model_name='repository',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('full_name', models.F('name')), _negated=True), models.Q(('name__contains', '/'), _negated=True), _connector='OR'), name='repository_in_its_namespace'),
        ),
        migrations.AlterUniqueTogether(
            name='repositorygrouppermission',
            unique_together={('group', 'permission', 'content_object')},
        ),
        migrations.AlterUniqueTogether(
            name='repositoryuserpermission',
            unique_together={('user', 'permission', 'content_object')},
        ),
        migrations.AddConstraint(
            model_name='team',
            constraint=models.UniqueConstraint(fields=('organization', 'name'), name='one_team_of_a_name'),
        ),
    ]
