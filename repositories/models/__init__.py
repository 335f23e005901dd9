"""The models of this app, grouped by subject. Accounts and policies have modules of their own."""

from repositories.accounts.models import AccessToken, Counter, Login, Profile, Scope
from repositories.models.grants import (
    NamespaceGroupPermission,
    NamespaceUserPermission,
    RepositoryGroupPermission,
    RepositoryUserPermission,
    RoleGroup,
)
from repositories.models.organizations import (
    MAX_GROUP_NAME_PART,
    Membership,
    Namespace,
    Organization,
    Team,
    validate_not_reserved,
)
from repositories.models.repositories import FullNameField, RegistrySettings, Repository, RepositoryQuerySet
from repositories.policies.models import Criterion, Policy, new_policy_id
