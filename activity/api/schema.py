"""What drf-spectacular can't find out about this API, for its OpenAPI schema.

Every operation can answer with the same errors, and reading has the same headers everywhere.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import PolymorphicProxySerializer

from activity.api.problems import CONTENT_TYPE, MAX_ERRORS
from activity.api.serializers import SparseSerializer
from activity.catalogue import REPOSITORY_KINDS
from activity.models import ActorType
from repositories import names

NOT_NUL = r"^[^\u0000]*$"
"""The pattern of texts that the database can compare."""
JSON = "application/json"
IN_PATHS: dict[str, dict[str, str]] = {
    "namespace": {"description": "The namespace, or `_` for none.", "example": "acme"},
    "name": {"description": "The name of the repository, without its namespace.", "example": "web"},
    "id": {"description": "The ID of the event."},
}
"""Descriptions of the parameters in paths."""
FIELDS = {
    "name": "fields",
    "in": "query",
    "description": "The names of the fields to return, separated by commas. By default, all are returned.",
    "explode": False,
    "style": "form",
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The `ETag` of an earlier answer. If it is still what you can see, the answer is 304.",
}
ERROR = {
    "type": "object",
    "description": "What is wrong with a parameter, or with a part of the body.",
    "required": ["detail"],
    "properties": {
        "detail": {"type": "string"},
        "parameter": {"type": "string", "description": "The name of the query parameter."},
        "pointer": {"type": "string", "description": "The place in the body, as a JSON pointer."},
    },
}
PROBLEM = {
    "type": "object",
    "description": "An error, in the format of RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "The name of the status."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong, for people to read."},
        "errors": {
            "type": "array",
            "description": "What is wrong with each parameter, or with each part of the body.",
            "minItems": 1,
            "maxItems": MAX_ERRORS,
            "items": {"$ref": "#/components/schemas/Error"},
        },
    },
}
ERRORS = {
    "400": "A parameter or the body is invalid. `errors` says which one and why.",
    "401": "The request has no valid access token.",
    "403": "The caller, or their access token, may not do this.",
    "404": "There is no such object, or the caller can't see it.",
    "406": "The caller doesn't accept JSON.",
    "410": "What was asked for existed, but doesn't exist any more.",
    "413": "The body is too large.",
    "415": "The body isn't JSON.",
    "429": "The caller sends too many requests. Try again later.",
    "500": "A server error occurred.",
    "503": "The server is overloaded, or its database can't be reached. Try again later.",
}
"""The descriptions of the statuses of errors."""
HEADERS_OF_READING = {
    "ETag": "A hash of the content.",
    "RateLimit-Limit": "How many requests that read the access token may send in a minute.",
    "RateLimit-Remaining": "How many of them are left.",
    "RateLimit-Reset": "Seconds until the limit resets.",
}
HEADERS_OF_PAGES = {
    "Link": "The addresses of the next and the previous page, with `rel=next` and `rel=prev`."
}
HEADERS_OF_ERRORS = {
    "401": {"WWW-Authenticate": "How to authenticate: `Bearer`."},
    "429": {"Retry-After": "After how many seconds to try again."},
    "503": {"Retry-After": "After how many seconds to try again."},
}


def _needs(field: str) -> dict[str, Any]:
    """Return the rule that events of some kinds need a field."""
    kinds = [key for key, kind in REPOSITORY_KINDS.items() if field in kind.requires]
    return {
        "if": {"required": ["kind"], "properties": {"kind": {"enum": kinds}}},
        "then": {"required": [field], "properties": {field: {"minLength": 1}}},
    }


PATTERNS_OF_PRODUCED_EVENTS = {
    "repository": f"^(?:{names.NAME})$",
    "tag": f"^(?:{names.TAG})?$",
    "digest": f"^(?:{names.DIGEST})?$",
    "id": r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
    "occurred_at": r"^(?:19[7-9]\d|[2-8]\d{3})-",
}
DETAILS_OF_PRODUCED_EVENTS = {"maxProperties": 20, "propertyNames": {"pattern": r"^[A-Za-z_]\w{0,49}$"}}


class Schema(AutoSchema):
    """Describes the views of this API."""

    def _get_paginator(self) -> Any:
        return super()._get_paginator() if self.method == "GET" else None

    def _get_filter_parameters(self) -> list[Any]:
        if self.method != "GET":
            return []
        found: list[Any] = super()._get_filter_parameters()
        filters = self.view.filterset_class.base_filters if hasattr(self.view, "filterset_class") else {}
        for parameter in found:
            parameter.setdefault("description", filters[parameter["name"]].label)
            if limit := filters[parameter["name"]].extra.get("max_length"):
                parameter["schema"]["maxLength"] = limit
            if parameter["name"] == "search":
                parameter["schema"]["format"] = "search"
        return found

    def _get_parameters(self) -> list[Any]:
        parameters = super()._get_parameters()
        view: Any = self.view
        if self.method == "GET" and view.is_sparse:
            names = {
                "type": "array",
                "items": {"type": "string", "enum": [*view.serializer_class().fields]},
            }
            parameters.append({**FIELDS, "schema": {**names, "minItems": 1}})
        return parameters

    def _map_basic_serializer(self, serializer: Any, direction: str) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        if isinstance(serializer, SparseSerializer):
            schema.pop("required", None)  # the caller chooses the fields
        return schema


def one_or_many(name: str, one: Any, many: Any = None) -> PolymorphicProxySerializer:
    """Return the description of a body that is either an object or a list of objects."""
    serializers = [one, (many or one)(many=True)]
    return PolymorphicProxySerializer(name, serializers, resource_type_field_name=None, many=False)


def complete(result: Any, generator: Any, **_: Any) -> Any:
    """Add errors, headers and limits to all operations. For `POSTPROCESSING_HOOKS`."""
    schemas = result["components"]["schemas"]
    schemas.update(Problem=PROBLEM, Error=ERROR)
    _add_rules(schemas["ProducedEvent"], schemas["Actor"])
    for path in result["paths"].values():
        for method, operation in path.items():
            for response in operation["responses"].values():
                response["description"] = response["description"] or "Success."
            _describe_values(operation)
            if "$ref" in operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {}):
                operation["requestBody"]["required"] = True
            if method == "get" and JSON in operation["responses"]["200"]["content"]:
                operation.setdefault("parameters", []).append(IF_NONE_MATCH)
                _describe_reading(operation)
            documented = {status for status in operation["responses"] if status >= "400"}
            for status in documented | _errors_of(method, operation):
                operation["responses"][status] = _problem(status)
            operation["responses"] = dict(sorted(operation["responses"].items()))
    return result


def _add_rules(event: Any, actor: Any) -> None:
    """Add the rules for the events that producers send."""
    for name, pattern in PATTERNS_OF_PRODUCED_EVENTS.items():
        event["properties"][name]["pattern"] = pattern
    event["properties"]["details"].update(DETAILS_OF_PRODUCED_EVENTS)
    event["properties"]["details"]["additionalProperties"].update(type=["string", "number"], pattern=NOT_NUL)
    event["allOf"] = [_needs("tag"), _needs("digest")]
    is_manual = {"properties": {"type": {"const": ActorType.MANUAL_PROMOTION.value}}}
    actor.update({"if": {"not": is_manual}, "then": {"required": ["id"]}})
    actor["properties"]["id"]["pattern"] = PATTERNS_OF_PRODUCED_EVENTS["id"]


def _describe_values(operation: Any) -> None:
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        if parameter["in"] == "path":
            parameter.update(IN_PATHS[parameter["name"]])
        if parameter["in"] == "query" and schema.get("type") == "string" and "enum" not in schema:
            schema["minLength"] = 1
            if "format" not in schema:
                schema["pattern"] = NOT_NUL


def _describe_reading(operation: Any) -> None:
    has_pages = any(parameter["name"] == "cursor" for parameter in operation["parameters"])
    headers = _headers(HEADERS_OF_READING | (HEADERS_OF_PAGES if has_pages else {}))
    responses = operation["responses"]
    responses["200"].setdefault("headers", {}).update(headers)
    responses["304"] = {"description": "The content is still the same.", "headers": headers}


def _headers(descriptions: dict[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in descriptions.items()}


def _errors_of(method: str, operation: Any) -> set[str]:
    """Return the statuses of the errors that an operation can answer with."""
    found = {"401", "403", "500", "503"}
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        found.add("404")
    if method == "get":
        return found | {"400", "406", "429"}
    # Any body is accepted if the schema doesn't restrict it.
    return found | ({"400", "406", "413", "415"} if operation["requestBody"].get("required") else set())


def _problem(status: str) -> Any:
    headers = _headers(HEADERS_OF_ERRORS.get(status, {}))
    content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": ERRORS[status], "content": content, **({"headers": headers} if headers else {})}
