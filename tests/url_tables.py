"""The expected HTTP status of a GET request to each page of the site, for each role."""

ROLES = ["anonymous", "outsider", "reader", "repoadmin", "owner", "auditor", "admin"]
PUBLIC = [200] * 7
LOGGED_IN = [302, 200, 200, 200, 200, 200, 200]
READERS = [302, 404, 200, 200, 200, 200, 200]
REPOADMINS = [302, 404, 404, 200, 200, 404, 200]
REPOADMINS_AND_AUDITORS = [302, 404, 404, 200, 200, 200, 200]
MEMBERS = [302, 404, 404, 404, 200, 200, 200]
POST_ONLY = [302, 405, 405, 405, 405, 405, 405]
POST_ONLY_FOR_REPOADMINS = [302, 404, 404, 405, 405, 404, 405]
REDIRECT = [302] * 7

SITE_URLS = {
    "login": PUBLIC,
    "logout": [405] * 7,
    "registry_repositories:home": REDIRECT,
    "registry_repositories:preferences": LOGGED_IN,
    "registry_repositories:password": LOGGED_IN,
    "registry_repositories:tokens": LOGGED_IN,
    "registry_repositories:revoke-token": POST_ONLY,
    "registry_repositories:guess-time-zone": POST_ONLY,
    "registry_repositories:list": LOGGED_IN,
    "registry_repositories:new": LOGGED_IN,
    "registry_repositories:organizations": LOGGED_IN,
    "registry_repositories:new_organization": [302, 404, 404, 404, 404, 404, 200],
    "registry_repositories:organization": MEMBERS,
    "registry_repositories:members": MEMBERS,
    "registry_repositories:teams": MEMBERS,
    "registry_repositories:team": MEMBERS,
    "registry_repositories:team_access": MEMBERS,
    "registry_repositories:repository": [302, 404, 302, 302, 302, 302, 302],
    "registry_repositories:info": READERS,
    "registry_repositories:permissions": REPOADMINS_AND_AUDITORS,
    "registry_repositories:repository_settings": REPOADMINS,
    "registry_repositories:promotions": REPOADMINS_AND_AUDITORS,
    "registry_repositories:mirrors": REPOADMINS_AND_AUDITORS,
    "registry_repositories:pruning": REPOADMINS_AND_AUDITORS,
    "registry_repositories:policy_create": REPOADMINS,
    "registry_repositories:policy_edit": REPOADMINS,
    "registry_repositories:policy_switch": POST_ONLY_FOR_REPOADMINS,
    "registry_repositories:policy_delete": REPOADMINS,
    "registry_activity:all": LOGGED_IN,
    "registry_activity:all-atom": [401, *LOGGED_IN[1:]],
    "registry_activity:event": READERS,
    "registry_activity:repository": READERS,
    "registry_activity:repository-atom": [401, *READERS[1:]],
    "registry_activity:organization": MEMBERS,
    "registry_activity:organization-atom": [401, *MEMBERS[1:]],
    "registry_activity:pulls": REPOADMINS_AND_AUDITORS,
    "registry_activity:tags": READERS,
    "registry_activity:user": READERS,
    "registry_activity:user-atom": [401, *READERS[1:]],
    "registry_activity:health": [503] * 7,
    "registry_activity:metrics": [401, 401, 401, 401, 401, 200, 200],
    "registry_activity:policy": REPOADMINS_AND_AUDITORS,
}
"""For each view name, the expected statuses, in the same order as `ROLES`."""
