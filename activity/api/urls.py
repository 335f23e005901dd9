from django.urls import path, re_path

from activity.api import docs, export, histogram, kinds, me, notifications, tags, tail, views
from repositories.accounts.profiles import make_pages
from repositories.urls import REPOSITORY

app_name = "registry_api"

urlpatterns = [
    # The slash after an address that events are sent to is optional: a registry treats a redirect as success,
    # and most clients follow one with a GET request, so the event would be lost.
    re_path(
        r"^notifications/registry/?$", notifications.RegistryNotificationView.as_view(), name="notifications"
    ),
    path("events/", views.EventListView.as_view(), name="events"),
    path("events", views.EventListView.as_view(schema=None)),
    path("events/kinds/", kinds.KindListView.as_view(), name="kinds"),
    path("events/histogram/", histogram.HistogramView.as_view(), name="histogram"),
    path("events/export/", export.EventExportView.as_view(), name="export"),
    path("events/tail/", tail.TailView.as_view(), name="tail"),
    path("events/<uuid:pk>/", views.EventDetailView.as_view(), name="event"),
    path("repositories/", views.RepositoryListView.as_view(), name="repositories"),
    path(f"{REPOSITORY}events/", views.RepositoryEventListView.as_view(), name="repository-events"),
    path(f"{REPOSITORY}tags/", tags.TagListView.as_view(), name="tags"),
    path("me/", me.CallerView.as_view(), name="me"),
    path("schema/", docs.SchemaView.as_view(), name="schema"),
    path("docs/", docs.docs, name="docs"),
    re_path("", views.UnknownAddressView.as_view()),  # comes last, because it matches any address
]

make_pages([pattern for pattern in urlpatterns if pattern.name == "docs"])
