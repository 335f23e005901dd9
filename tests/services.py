"""The real programs the tests talk to, each started on a free port and stopped when its block ends.

    with postgresql(folder) as url, redis(folder) as broker:
        ...

They come from the machine's own packages; one that is absent raises `MissingService`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from glob import glob
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from redis import Redis, RedisError
from selenium import webdriver

LOOPBACK = "127.0.0.1"
SECONDS_TO_START = 60
SECONDS_TO_STOP = 10
NOT_YET = (OSError, HTTPException, psycopg.Error, RedisError)  # what a program still starting up causes


class MissingService(Exception):
    """A program the tests need isn't on this machine; the message says what to install."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(f"{name} is not installed: apt-get install {package}")


def find_program(name: str, package: str, *folders: str) -> str:
    """The path of a program on PATH or, failing that, in one of the folders."""
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if not path:
        raise MissingService(name, package)
    return path


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(
    command: list[str],
    folder: Path,
    answers: Callable[[], object],
    *,
    stop: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block, which starts once `answers` no longer raises.

    Its output goes to a log file in the folder; `options` are those of `subprocess.Popen`.
    """
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as output:
        # In a process group of its own, Ctrl-C reaches pytest alone, which still needs the program
        # for its teardown.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            **options,
        )
    try:
        _wait_until(answers, process, log)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(answers: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(*NOT_YET):
            answers()
            return
        time.sleep(0.02)
    why = "doesn't answer" if process.returncode is None else f"ended with status {process.returncode}"
    raise RuntimeError(f"{log.stem} {why}. The end of its log:\n{_tail(log)}")


def _tail(log: Path, characters: int = 2000) -> str:
    return log.read_text(errors="replace")[-characters:]


# --- PostgreSQL ---------------------------------------------------------------------------------


@contextmanager
def postgresql(folder: Path, *, durable: bool = False) -> Iterator[str]:
    """An empty PostgreSQL cluster that trusts everyone on the loopback interface; yields its URL.

    Unless `durable`, it never waits for the disk. The folder gets the log only: the data is in a
    folder of its own under TMPDIR, as PostgreSQL refuses to run as root and its `postgres` user may
    not enter root's private folders; the path of a socket must be short, too.
    """
    # Debian keeps the server's programs off PATH, one folder per version: take the newest.
    folders = sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)
    initdb, postgres = (find_program(name, "postgresql", *folders) for name in ("initdb", "postgres"))
    port = free_port()
    url = f"postgresql://postgres@{LOOPBACK}:{port}/postgres"
    with TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as home:
        options: dict[str, Any] = {"cwd": home}
        if os.geteuid() == 0:
            shutil.chown(home, "postgres", "postgres")
            options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        data = f"{home}/data"
        _initialise([initdb, "--pgdata", data], folder / "initdb.log", **options)
        settings = {
            "listen_addresses": LOOPBACK,
            "port": port,
            "unix_socket_directories": home,
            "max_connections": 100,
        }
        if not durable:
            settings |= dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off")
        command = [postgres, "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        # SIGTERM would wait for every client to leave, SIGINT sends them away.
        with running(
            command,
            folder,
            lambda: psycopg.connect(url, connect_timeout=5).close(),
            stop=signal.SIGINT,
            **options,
        ):
            yield url


def _initialise(initdb: list[str], log: Path, **options: Any) -> None:
    # A database encoding and collation that don't depend on the developer's locale.
    command = [
        *initdb,
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]
    with log.open("wb") as output:
        status = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT, **options)
    if status:
        raise RuntimeError(f"initdb ended with status {status}. The end of its log:\n{_tail(log)}")


# --- Redis --------------------------------------------------------------------------------------


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis that keeps nothing on disk; yields its URL."""
    program, port = find_program("redis-server", "redis-server"), free_port()
    url = f"redis://{LOOPBACK}:{port}/0"
    settings = {"bind": LOOPBACK, "port": str(port), "save": "", "appendonly": "no", "dir": str(folder)}
    command = [program, *(word for name, value in settings.items() for word in (f"--{name}", value))]
    with closing(Redis.from_url(url)) as client, running(command, folder, client.ping):
        yield url


# --- Registry -----------------------------------------------------------------------------------


@contextmanager
def docker_registry(
    folder: Path, *, notifications: Mapping[str, Any] | None = None, users: Mapping[str, str]
) -> Iterator[str]:
    """A registry for these users and their passwords, where tags may be deleted; yields its address.

    `notifications` is that section of its configuration, e.g. `{"endpoints": [{"name": …}]}`.
    """
    program, address = find_program("docker-registry", "docker-registry"), f"{LOOPBACK}:{free_port()}"
    passwords = folder / "htpasswd"
    passwords.write_text("".join(_bcrypt(*user) for user in users.items()))
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "http": {"addr": address},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
        "auth": {"htpasswd": {"realm": "tests", "path": str(passwords)}},
        "notifications": notifications or {},
    }
    path = folder / "registry.yml"
    path.write_text(json.dumps(config, indent=2))  # JSON is YAML
    with running([program, "serve", str(path)], folder, lambda: _get(address, "/v2/")):
        yield address


def _bcrypt(user: str, password: str) -> str:
    """A line of a password file, in the only format that the registry reads."""
    htpasswd = find_program("htpasswd", "apache2-utils")
    done = subprocess.run(
        [htpasswd, "-niB", user], input=password.encode(), stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode()


def _get(address: str, path: str) -> None:
    """Any answer will do, and no proxy of the developer's stands between."""
    with closing(HTTPConnection(address, timeout=1)) as connection:
        connection.request("GET", path)
        connection.getresponse()


# --- Browser ------------------------------------------------------------------------------------

BROWSER_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root can't have
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm is tiny in a container
    # Nothing but the tests' own requests:
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium(
    width: int, height: int, *, dark: bool = False, javascript: bool = True
) -> Iterator[webdriver.Chrome]:
    """A new browser showing pages in a viewport of this size, with or without their scripts."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium", "chromium")
    # Given a driver, Selenium doesn't look for one on the network.
    service = webdriver.ChromeService(find_program("chromedriver", "chromium-driver"))
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*BROWSER_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=service)
        try:
            # A window can't be as narrow as a phone, and its frame takes part of its height.
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not javascript})
            yield driver
        finally:
            driver.quit()
