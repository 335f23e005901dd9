"""The wheel and the source distribution contain the apps with all their files, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import activity

ROOT = Path(__file__).parent.parent
APPS = ("activity", "repositories")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a newly built wheel and source distribution. The wheel is built from the latter."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> ZipFile:
    (path,) = distributions.glob("*.whl")
    return ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def files_of_apps() -> set[str]:
    """Return the paths of all files of the apps that are under version control or could be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *APPS]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return {path for path in listed if Path(ROOT, path).exists()}


def test_wheel_contains_exactly_the_files_of_the_apps(wheel: ZipFile) -> None:
    packaged = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert packaged == files_of_apps()
    for path in (
        "activity/templates/registry_activity/base.html",
        "activity/static/registry_activity/site.css",
        "activity/migrations/0001_initial.py",
        "activity/management/commands/registry_config.py",
        "repositories/templates/registry_repositories/list.html",
    ):
        assert path in packaged


def test_source_distribution_contains_neither_the_host_project_nor_the_tests(distributions: Path) -> None:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert files_of_apps() <= names
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"} <= names
    assert {name for name in names if name.startswith(("msr_project", "tests", "manage"))} == set()


def test_version_is_the_one_of_the_package(metadata: Message) -> None:
    assert metadata["Version"] == activity.__version__


def test_apps_need_neither_a_web_server_nor_a_certain_database(metadata: Message) -> None:
    needed = {line.split(";")[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}

    assert any(line.startswith("django<") for line in needed)
    for name in ("gunicorn", "honcho", "psycopg", "redis", "whitenoise", "django-csp", "django-environ"):
        assert not any(line.startswith(name) for line in needed), needed
    assert set(metadata.get_all("Provides-Extra", [])) == {"postgresql", "redis", "server"}


def test_metadata_names_versions_of_django_and_python(metadata: Message) -> None:
    classifiers = metadata.get_all("Classifier", [])

    assert {"Framework :: Django :: 5.2", "Framework :: Django :: 6.0"} <= set(classifiers)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload()
