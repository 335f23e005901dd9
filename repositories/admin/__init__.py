"""The admin for users, organizations, repositories, policies and tokens. Each module registers its models."""

from repositories.admin import organizations, people, policies, repositories, tokens  # noqa: F401
