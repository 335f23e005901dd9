"""The WSGI application, which `msr_project.server` serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "msr_project.settings")

application = get_wsgi_application()
