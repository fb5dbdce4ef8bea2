"""The files for systemd and Kubernetes: what they name exists, and the settings in them can be used."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest

from harebell.settings import ConfigFiles, load

pytestmark = pytest.mark.once

CONFIG = Path(__file__).parents[2] / "config"
MANIFEST = CONFIG / "kubernetes" / "harebell.yaml"


def manifest() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


def container() -> dict[str, Any]:
    found: dict[str, Any] = manifest()["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_probes_and_services_name_ports_of_the_container() -> None:
    ports = {port["name"] for port in container()["ports"]}
    targets = {port["targetPort"] for port in manifest()["Service"]["spec"]["ports"]}
    probes = {container()[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe")}
    assert targets | probes <= ports
    assert "livenessProbe" not in container(), "a restart helps no node that is slow"


def test_the_settings_in_the_manifest_can_be_used_and_leave_time_to_drain(tmp_path: Path) -> None:
    path = tmp_path / "harebell.toml"
    path.write_text(manifest()["ConfigMap"]["data"]["harebell.toml"])
    settings = load(environ={}, files=ConfigFiles(toml=(path,))).settings
    pod = manifest()["StatefulSet"]["spec"]["template"]["spec"]
    needed = settings.drain.delay + settings.drain.spread + settings.server.shutdown_timeout
    assert settings.drain.delay > 0
    assert pod["terminationGracePeriodSeconds"] > needed


def test_the_unit_is_told_when_the_node_is_ready_and_reloads_it_with_sighup() -> None:
    text = (CONFIG / "harebell.service").read_text()
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(service["WatchdogSec"]) > 0
    assert re.search(r"^RestrictAddressFamilies=.*AF_UNIX", text, re.MULTILINE), "to talk to systemd"
