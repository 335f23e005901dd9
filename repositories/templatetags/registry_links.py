"""The `page_url` template tag, which is defined in `repositories.links`."""

from django import template

from repositories import links

register = template.Library()
register.simple_tag(links.page_url)
