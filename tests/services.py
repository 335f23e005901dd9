"""Run the programs that the tests need: PostgreSQL, Redis, a registry, containerd and a browser.

    with postgresql(folder) as url, redis(folder) as broker:
        ...

Each program is started on a free port and stopped at the end of its block. The programs come from operating
system packages. If a program isn't installed, `MissingService` is raised. If a client of the registry is
installed but can't run on this machine, `UnusableProgram` is raised.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
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
OUTPUT_SHOWN = 2000  # characters at the end of a program's output that an error message contains
NOT_READY = (OSError, HTTPException, psycopg.Error, RedisError)  # raised while a program is still starting


class MissingService(Exception):
    """Raised if a program isn't installed. The message says which package to install."""

    def __init__(self, name: str, package: str) -> None:
        super().__init__(f"{name} is not installed: apt-get install {package}")


class UnusableProgram(Exception):
    """Raised if a program is installed, but can't run on this machine, for example without mount rights."""

    def __init__(self, command: str, problem: str) -> None:
        super().__init__(f"{Path(command).name} can't run on this machine: {problem.strip()}")


def check_program(command: list[str]) -> None:
    """Run a command that shows whether a program can run on this machine.

    Raises UnusableProgram if the command fails.
    """
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS_TO_START)
    except subprocess.CalledProcessError as error:
        raise UnusableProgram(command[0], error.stderr[-OUTPUT_SHOWN:]) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnusableProgram(command[0], str(error)) from None


def find_program(name: str, package: str, *folders: str) -> str:
    """Search for a program on PATH and then in the folders, and return its path.

    Raises MissingService if the program isn't found.
    """
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if not path:
        raise MissingService(name, package)
    return path


def free_port() -> int:
    """Return a TCP port that no program listens on."""
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(
    command: list[str],
    folder: Path,
    check: Callable[[], object],
    *,
    stop: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program during the block, and stop it with the `stop` signal.

    The block starts when `check` no longer raises. Raises RuntimeError if the program ends before the block
    starts, or isn't ready within `SECONDS_TO_START`. The program's output is written to a log file in the
    folder. `options` are passed to `subprocess.Popen`.
    """
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as output:
        # The program gets its own process group, so that Ctrl-C interrupts only pytest. The program must keep
        # running, because pytest still needs it for teardown.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            **options,
        )
    try:
        _wait_until_ready(check, process, log)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(check: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(*NOT_READY):
            check()
            return
        time.sleep(0.02)  # the program doesn't signal when it is ready
    problem = "doesn't respond" if process.returncode is None else f"ended with status {process.returncode}"
    raise RuntimeError(f"{log.stem} {problem}. The end of its log:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-OUTPUT_SHOWN:]


# --- PostgreSQL ---------------------------------------------------------------------------------


@contextmanager
def postgresql(folder: Path, *, durable: bool = False, data: Path | None = None) -> Iterator[str]:
    """Run a PostgreSQL cluster, and yield its URL. Connections from localhost need no password.

    Unless `durable` is true, the server never waits for the disk. Only the log is written to `folder`. The
    data and the socket are in a separate folder under TMPDIR. PostgreSQL refuses to run as root, so root
    starts it as the `postgres` user, who can't enter root's private folders. The socket's path must also be
    short. The cluster is empty, unless an earlier call left it in the folder `data`, where it is kept.
    """
    # On Debian, the server's programs aren't on PATH but in one folder per version. Use the newest version.
    folders = sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)
    initdb, postgres = (find_program(name, "postgresql", *folders) for name in ("initdb", "postgres"))
    port = free_port()
    url = f"postgresql://postgres@{LOOPBACK}:{port}/postgres"
    with TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as home:
        options: dict[str, Any] = {"cwd": home}
        data = data or Path(home, "data")
        is_new = not data.exists()
        data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            for path in (home, data):
                shutil.chown(path, "postgres", "postgres")
            options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        if is_new:
            _initialize([initdb, "--pgdata", str(data)], folder / "initdb.log", **options)
        settings = {
            "listen_addresses": LOOPBACK,
            "port": port,
            "unix_socket_directories": home,
            "max_connections": 100,
        }
        if not durable:
            settings |= dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "off")
        command = [postgres, "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]
        # SIGTERM would wait until every client disconnects. SIGINT disconnects them.
        with running(
            command,
            folder,
            lambda: psycopg.connect(url, connect_timeout=5).close(),
            stop=signal.SIGINT,
            **options,
        ):
            yield url


def _initialize(initdb: list[str], log: Path, **options: Any) -> None:
    # Set the encoding and the collation, so that they don't depend on the developer's locale.
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
    """Run a Redis server that doesn't write to the disk, and yield its URL."""
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
    """Run a registry in which tags can be deleted, and yield its host and port.

    `users` maps names to passwords. `notifications` is the configuration section of that name, for
    example `{"endpoints": [{"name": …}]}`.
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
    path.write_text(json.dumps(config, indent=2))  # JSON is valid YAML
    with running([program, "serve", str(path)], folder, lambda: _get(address, "/v2/")):
        yield address


def _bcrypt(user: str, password: str) -> str:
    """Return a user's line for the password file. The registry supports only passwords hashed with bcrypt."""
    htpasswd = find_program("htpasswd", "apache2-utils")
    done = subprocess.run(
        [htpasswd, "-niB", user], input=password.encode(), stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode()


def _get(address: str, path: str) -> None:
    """Send a GET request that ignores proxy settings. Any response is a success."""
    with closing(HTTPConnection(address, timeout=1)) as connection:
        connection.request("GET", path)
        connection.getresponse()


# --- containerd ---------------------------------------------------------------------------------

CONTAINERD = """\
version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{home}/containerd.sock"
uid = {uid}
gid = {gid}
[plugins."io.containerd.internal.v1.opt"]
path = "{home}/opt"
[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"
"""


@contextmanager
def containerd(folder: Path) -> Iterator[str]:
    """Run containerd, and yield the path of its socket.

    Its namespaces don't share content. Only the log is written to `folder`. The other files are in a separate
    folder under TMPDIR, because the path of a socket must be short.
    """
    program = find_program("containerd", "containerd")
    with TemporaryDirectory(prefix="containerd-", ignore_cleanup_errors=True) as home, ExitStack() as stack:
        config, address = Path(home, "config.toml"), f"{home}/containerd.sock"
        config.write_text(CONTAINERD.format(home=home, uid=os.geteuid(), gid=os.getegid()))
        command = [program, "--config", str(config)]
        try:
            stack.enter_context(running(command, folder, lambda: _connect(address)))
        except RuntimeError as error:
            raise UnusableProgram(program, str(error)) from None
        yield address


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)


# --- Browser ------------------------------------------------------------------------------------

BROWSER_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the sandbox doesn't work for root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # in a container, /dev/shm is too small
    # Prevent all network requests except those made by the tests:
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
    """Run a browser with a viewport of this size, and yield its driver."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium", "chromium")
    # Without a driver path, Selenium would try to download a driver.
    service = webdriver.ChromeService(find_program("chromedriver", "chromium-driver"))
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*BROWSER_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=service)
        try:
            # Resizing the window isn't enough: a window can't be as narrow as a phone, and its frame takes up
            # space.
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not javascript})
            yield driver
        finally:
            driver.quit()
