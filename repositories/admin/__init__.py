"""The admin for organizations, repositories, policies and tokens. Each module registers its models."""

from repositories.admin import organizations, policies, repositories, tokens  # noqa: F401
