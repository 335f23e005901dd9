"""gunicorn's settings: `gunicorn --config python:msr_project.server.gunicorn`."""

from msr_project.settings import BIND, PORT

wsgi_app = "msr_project.wsgi"
bind = [f"{address}:{PORT}" for address in BIND]
workers = 2
worker_class = "msr_project.server.worker.Worker"
preload_app = True
loglevel = "warning"
control_socket_disable = True  # all installations of a user would share one socket in the home folder
