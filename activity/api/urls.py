from django.urls import path, re_path

from activity.api import docs, notifications, views
from repositories.accounts.profiles import make_pages
from repositories.urls import REPOSITORY
from repositories.utils.private import make_private

app_name = "registry_api"

urlpatterns = [
    # The slash after an address that events are sent to is optional: a registry treats a redirect as success,
    # and most clients follow one with a GET request, so the event would be lost.
    re_path(
        r"^notifications/registry/?$", notifications.RegistryNotificationView.as_view(), name="notifications"
    ),
    path("events/", views.EventListView.as_view(), name="events"),
    path("events", views.EventListView.as_view(schema=None)),
    path("events/<uuid:pk>/", views.EventDetailView.as_view(), name="event"),
    path("repositories/", views.RepositoryListView.as_view(), name="repositories"),
    path(f"{REPOSITORY}events/", views.RepositoryEventListView.as_view(), name="repository-events"),
    path("schema/", docs.SchemaView.as_view(), name="schema"),
    path("docs/", docs.docs, name="docs"),
]

make_private(urlpatterns)
make_pages([pattern for pattern in urlpatterns if pattern.name == "docs"])
