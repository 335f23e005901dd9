"""The OpenAPI schema of this API, and its documentation in Swagger UI."""

from __future__ import annotations

from threading import Lock
from typing import Any

from django.contrib.auth.decorators import login_required
from django.templatetags.static import static
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import TemplateHTMLRenderer

from activity.api.base import ANY_SCOPE, ApiView

SETTINGS: dict[str, Any] = {
    "TITLE": "Registry activity",
    "DESCRIPTION": "The audit events of a container registry. Users see only what they have access to.",
    "VERSION": "v0",
    "PREPROCESSING_HOOKS": ["activity.api.docs.own_endpoints"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "activity.api.schema.complete",
    ],
    "OAS_VERSION": "3.1.1",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVERS": [],
    "TAGS": [],
}
"""drf-spectacular's settings for this API. The site's own `SPECTACULAR_SETTINGS` describe its own API."""

_patching = Lock()


def own_endpoints(endpoints: list[Any]) -> list[Any]:
    """Leave out the endpoints of the site's own API."""
    return [endpoint for endpoint in endpoints if issubclass(endpoint[3].cls, ApiView)]


class Generator(SchemaGenerator):
    """Generates the schema of this API alone."""

    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        # Two threads that replace the settings at the same time would leave the site's settings replaced.
        with _patching, patched_settings(SETTINGS):
            return super().get_schema(request, public)


class SchemaView(ApiView, SpectacularAPIView):
    """The OpenAPI schema of this API."""

    scopes = {"GET": ANY_SCOPE}
    generator_class = Generator
    content_negotiation_class = DefaultContentNegotiation
    renderer_classes = SpectacularAPIView.renderer_classes
    schema = None  # excluded from the schema


class DocsView(ApiView, SpectacularSwaggerSplitView):
    """The API documentation, in Swagger UI."""

    scopes = {"GET": ANY_SCOPE}
    renderer_classes = [TemplateHTMLRenderer]
    url_name = "registry_api:schema"
    template_name = "registry_activity/api.html"
    title = "Registry activity"
    is_stored = False  # the page names the user
    schema = None  # excluded from the schema

    @staticmethod
    def _swagger_ui_resource(filename: str) -> str:
        return static(f"drf_spectacular_sidecar/swagger-ui-dist/{filename}")


docs: Any = login_required(DocsView.as_view())
try:
    from csp.constants import UNSAFE_INLINE
    from csp.decorators import csp_update
except ImportError:  # django-csp is optional
    pass
else:
    # Swagger UI needs inline styles and `data:` images. The site's policy still applies to its scripts.
    docs = csp_update({"style-src": [UNSAFE_INLINE], "img-src": ["data:"]})(docs)
