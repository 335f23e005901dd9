"""The scripts in docs/integrations.md that send the reports of Trivy and Grype, run by a shell.

Neither scanner can be installed from PyPI, npm or Debian, so a program of the same name writes a short report
in the scanner's documented format.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from activity.models import Event
from activity.scans import ScanResult
from repositories.models import Repository
from tests import factories

INTEGRATIONS = Path(__file__).parent.parent / "docs" / "integrations.md"
DIGEST = "sha256:" + "ab" * 32
PULLED = f"registry.example.com:5000/acme/web@{DIGEST}"
REPORT_URL = "https://scans.example.com/4711"

REPORTS: dict[str, dict[str, Any]] = {
    "Trivy": {
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-22T14:30:05.123456789+02:00",
        "ArtifactName": "registry.example.com:5000/acme/web:v1",
        "ArtifactType": "container_image",
        "Metadata": {"RepoTags": ["registry.example.com:5000/acme/web:v1"], "RepoDigests": [PULLED]},
        "Results": [
            {
                "Target": "os",
                "Class": "os-pkgs",
                "Vulnerabilities": [
                    {"VulnerabilityID": f"CVE-2026-{number}", "PkgName": "zlib", "Severity": severity}
                    for number, severity in enumerate(["CRITICAL", "HIGH", "HIGH", "UNKNOWN"])
                ],
            },
            {"Target": "app", "Class": "lang-pkgs"},
            {"Target": "java", "Class": "lang-pkgs", "Vulnerabilities": [{"Severity": "CRITICAL"}]},
        ],
    },
    "Grype": {
        "matches": [
            {
                "vulnerability": {"id": f"CVE-2026-{number}", "severity": severity},
                "artifact": {"name": "zlib"},
            }
            for number, severity in enumerate(["Critical", "Critical", "High", "High", "Unknown"])
        ],
        "source": {"type": "image", "target": {"userInput": "acme/web:v1", "repoDigests": [PULLED]}},
        "descriptor": {"name": "grype", "version": "0.104.0", "timestamp": "2026-11-22T12:30:05.1234567Z"},
    },
}
FAKE = """#!/bin/sh
while [ "$1" != --output ] && [ "$1" != --file ]; do shift; done
[ "$2" = json ] && shift 2
cp "$REPORT" "$2"
"""


def script_of(scanner: str) -> str:
    """Return the script in the section about a scanner."""
    section = INTEGRATIONS.read_text().split(f"\n### {scanner}\n")[1]
    match = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert match is not None
    return match[1]


def run(scanner: str, report: dict[str, Any], folder: Path, url: str, **environ: str) -> Any:
    """Run the script of a scanner that writes the given report."""
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "scan").write_text(script_of(scanner))
    program = folder / scanner.lower()
    program.write_text(FAKE)
    program.chmod(0o755)
    return subprocess.run(
        ["sh", folder / "scan", "registry.example.com:5000/acme/web:v1"],
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "REPORT": str(folder / "report.json"),
            "ACTIVITY_URL": url,
            "no_proxy": "*",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scanner", REPORTS)
def test_report_becomes_one_event(scanner: str, tmp_path: Path, live_server: Any) -> None:
    factories.enable_scanning()
    token = factories.new_token(factories.producer(), can_read=False, restricted_to="acme/*")

    for _ in range(2):
        done = run(
            scanner, REPORTS[scanner], tmp_path, live_server.url, ACTIVITY_TOKEN=token, REPORT_URL=REPORT_URL
        )
        assert done.returncode == 0, done.stdout + done.stderr

    event = Event.objects.get(kind="scan")
    assert (event.repository_name, event.digest) == ("acme/web", DIGEST)
    assert f"{event.occurred_at:%Y-%m-%d %H:%M:%S}" == "2026-11-22 12:30:05"
    result = ScanResult.of(event.details)
    assert result.summary == "2 critical, 2 high, 1 unknown"
    assert result.scanner.startswith(scanner)
    assert result.report == REPORT_URL


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scanner", REPORTS)
def test_script_fails_with_the_answer_of_the_server(
    scanner: str, tmp_path: Path, live_server: Any, web: Repository
) -> None:
    token = factories.new_token(factories.producer(), restricted_to="globex/*")

    done = run(scanner, REPORTS[scanner], tmp_path, live_server.url, ACTIVITY_TOKEN=token)

    assert done.returncode != 0
    assert "can't be used for acme/web" in done.stdout
