"""Settings of the host project. Operators set them with environment variables:

| variable        | default                           | meaning                                            |
| --------------- | --------------------------------- | -------------------------------------------------- |
| `PUBLIC_URL`    | `http://localhost:$PORT`          | the URL of this site for users and registries;     |
|                 |                                   | `https://` enables secure cookies, HSTS and the    |
|                 |                                   | redirect to HTTPS                                  |
| `PORT`          | `8000`                            | the port the web server listens on                 |
| `BIND`          | `127.0.0.1`                       | the addresses the web server listens on,           |
|                 |                                   | comma-separated; `0.0.0.0` is all of IPv4          |
| `TRUSTED_PROXIES` | `127.0.0.1,::1` with `https://` | the addresses and networks of reverse proxies      |
|                 |                                   | whose `X-Forwarded-*` headers are believed         |
| `DATABASE_URL`  | SQLite in `$DATA_DIR`             | `postgresql://user:password@host/database`         |
| `REDIS_URL`     | files in `$DATA_DIR`              | `redis://host:6379/0`, for Celery and the cache    |
| `DATA_DIR`      | `var/`                            | the folder for all files that the project writes   |
| `SECRET_KEY`    | generated, stored in `$DATA_DIR`  | Django's signing key                               |
| `REGISTRY_HOST` | `localhost:5000`                  | the registry's host and port, as used in commands  |
|                 |                                   | such as `docker pull`                              |
| `ALLOWED_HOSTS` | none                              | additional host names, comma-separated             |
| `ARCHIVE_STORAGE` | a folder in `$DATA_DIR`         | the Django storage class for archived events       |
| `ARCHIVE_OPTIONS` |                                 | the options for that storage class, as JSON        |
| `DELETION_DELAY` | `24`                             | hours until a change of auto-deletion takes effect |
|                 |                                   | if more events are deleted; can be 0               |
| `READS_PER_MINUTE` | `3000`         | how many requests a minute an access token may     |
|                 |                                   | send that read; `0` for no limit                   |
| `MESSAGE_RETENTION` | `90`                          | days for which the messages of registries are kept |
|                 |                                   | beside their events; 0 stores none                 |
| `RECORD_IN_REQUEST` | `false`       | record notifications in their requests, without    |
|                 |                                   | the recorder, which records many more a second     |
| `DEBUG`         | `false`                           | Django's debug mode, only for development          |
"""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF

from msr_project import data_dir
from msr_project.secret_key import load_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var")))
data_dir.prepare(DATA_DIR)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or load_secret_key(DATA_DIR / "secret_key")

PORT = env.int("PORT", default=8000)
BIND = [address.strip() for address in env.list("BIND", default=["127.0.0.1"])]
PUBLIC_URL = env.str("PUBLIC_URL", default=f"http://localhost:{PORT}").rstrip("/")
_public = urlsplit(PUBLIC_URL)
HTTPS = _public.scheme == "https"
# A registry in a container reaches its host machine as host.docker.internal.
LOCAL_HOSTS = [] if HTTPS else ["localhost", "127.0.0.1", "[::1]", "host.docker.internal"]
ALLOWED_HOSTS = [_public.hostname or "localhost", *LOCAL_HOSTS, *env.list("ALLOWED_HOSTS", default=[])]
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]

INSTALLED_APPS = [
    "activity",
    "repositories",
    "msr_project",
    "msr_project.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "django_celery_beat",
    "django_filters",
    "django_htmx",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "guardian",
    "knox",
    "rest_framework",
    "solo",
]

MIDDLEWARE = [
    "msr_project.proxies.TrustedProxyMiddleware",
    "activity.api.notifications.NotificationsMiddleware",
    "msr_project.proxies.HttpsApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "msr_project.private.PrivateResponsesMiddleware",
    "repositories.accounts.current_request.CurrentRequestMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "repositories.accounts.passwords.LoginLimitMiddleware",
]

ROOT_URLCONF = "msr_project.urls"
WSGI_APPLICATION = "msr_project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database and cache -------------------------------------------------------------------------

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # The web server, the worker and beat share the file. With WAL, readers don't wait for a writer.
    # A registry discards a message that was acknowledged, so the message must survive a power failure: with
    # synchronous=FULL, the file is flushed at every commit.
    # Transactions are IMMEDIATE, because a read transaction that starts to write fails without waiting if
    # another connection has written since the transaction began.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 30,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    # JIT compilation of a query over many partitions takes seconds; the query itself takes milliseconds.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("options", "-c jit=off")
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            # Recording an event must not wait long for a cache that is down.
            "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
        }
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(DATA_DIR / "cache"),
            "OPTIONS": {"MAX_ENTRIES": 2_000},
        }
    }

# --- Authentication and locale ------------------------------------------------------------------

AUTHENTICATION_BACKENDS = [
    "repositories.accounts.passwords.LimitedModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ANONYMOUS_USER_NAME = None  # guardian: anonymous users have no permissions
LOGIN_REDIRECT_URL = "registry_repositories:list"
LOGOUT_REDIRECT_URL = "login"

TIME_ZONE = "UTC"  # the default for users who haven't chosen a time zone
FORMAT_MODULE_PATH = "msr_project.formats"

# --- Security -----------------------------------------------------------------------------------

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# Anyone who can connect could forge the headers of a reverse proxy.
TRUSTED_PROXIES = [
    ip_network(network)
    for network in env.list("TRUSTED_PROXIES", default=["127.0.0.1", "::1"] if HTTPS else [])
]
if HTTPS:
    # The reverse proxy terminates TLS; the web server itself speaks plain HTTP.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # API requests aren't redirected: a registry treats a redirect as success, so its events would be lost.
    # `HttpsApiMiddleware` refuses all other API requests.
    SECURE_REDIRECT_EXEMPT = [r"^api/"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- Static files -------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
WHITENOISE_USE_FINDERS = True

# Django would make these files readable for everybody, regardless of the umask. See `data_dir`.
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    # Events are archived here before they are deleted: in a folder, or with a django-storages backend.
    "archives": {
        "BACKEND": env.str("ARCHIVE_STORAGE", default="django.core.files.storage.FileSystemStorage"),
        "OPTIONS": env.json("ARCHIVE_OPTIONS", default={"location": str(DATA_DIR / "archives")}),
    },
}

# --- The apps -----------------------------------------------------------------------------------

REGISTRY_ACTIVITY = {
    "PUBLIC_URL": PUBLIC_URL,
    "REGISTRY_HOST": env.str("REGISTRY_HOST", default="localhost:5000"),
    # Until a change of auto-deletion takes effect, any MSR admin can cancel it.
    "DELETION_DELAY": timedelta(hours=env.float("DELETION_DELAY", default=24)),
    "READS_PER_MINUTE": env.int("READS_PER_MINUTE", default=3_000) or None,
    "MESSAGE_RETENTION": timedelta(days=env.float("MESSAGE_RETENTION", default=90)),
    # The recorder (see the Procfile) records what requests have received.
    "RECORD_IN_REQUEST": env.bool("RECORD_IN_REQUEST", default=False),
}

# --- API ----------------------------------------------------------------------------------------

# The API views define all other settings themselves.
REST_FRAMEWORK: dict[str, Any] = {"TEST_REQUEST_DEFAULT_FORMAT": "json"}

# --- Celery -------------------------------------------------------------------------------------

CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Migrations create the schedule, and operators edit it in the admin. CELERY_BEAT_SCHEDULE is not set, because
# Celery beat would overwrite the operators' edits with it on every start.
CELERY_RESULT_EXPIRES = None  # no results are stored, so Celery beat needs no task that deletes them
if REDIS_URL:
    CELERY_BROKER_URL = REDIS_URL
else:
    _queue = DATA_DIR / "queue"
    for _folder in ("messages", "control"):
        (_queue / _folder).mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_URL = "filesystem://localhost"  # kombu logs a warning if there is no host name
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_queue / "messages"),
        "data_folder_out": str(_queue / "messages"),
        "control_folder": str(_queue / "control"),
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"brief": {"()": "msr_project.logs.BriefFilter"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["brief"]},
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    # Don't log every 401, 404, wrong Host header and request that waits: anyone could fill the log with them.
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.security": {"level": "CRITICAL"},
        "waitress.queue": {"level": "ERROR"},
    },
}
