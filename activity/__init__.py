"""The audit trail of a container registry, as an application for Django sites."""

__version__ = "0.1.0"
