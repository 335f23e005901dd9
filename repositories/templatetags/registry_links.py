"""The template tag `page_url`: see `repositories.links`."""

from django import template

from repositories import links

register = template.Library()
register.simple_tag(links.page_url)
