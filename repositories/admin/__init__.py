"""Who owns what, and who may do what with it, for MSR admins. Each module registers what it is about."""

from repositories.admin import organizations, people, policies, repositories, tokens  # noqa: F401
