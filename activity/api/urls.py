from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib.auth.decorators import login_required
from django.urls import path, re_path

from activity.api import views
from repositories.urls import REPOSITORY
from repositories.utils.private import make_private

app_name = "registry_api"

# Swagger UI needs inline styles and `data:` images. The site's policy still applies to its scripts.
docs = login_required(
    csp_update({"style-src": [UNSAFE_INLINE], "img-src": ["data:"]})(views.DocsView.as_view())
)

urlpatterns = [
    # The slash after an address that events are sent to is optional: a registry treats a redirect as success,
    # and most clients follow one with a GET request, so the event would be lost.
    re_path(r"^notifications/registry/?$", views.RegistryNotificationView.as_view(), name="notifications"),
    path("events/", views.EventListView.as_view(), name="events"),
    path("events", views.EventListView.as_view(schema=None)),
    path("events/<uuid:pk>/", views.EventDetailView.as_view(), name="event"),
    path("repositories/", views.RepositoryListView.as_view(), name="repositories"),
    path(f"{REPOSITORY}events/", views.RepositoryEventListView.as_view(), name="repository-events"),
    path("schema/", views.SchemaView.as_view(), name="schema"),
    path("docs/", docs, name="docs"),
]

make_private(urlpatterns)
