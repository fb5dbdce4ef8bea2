"""The container image without an engine: its build steps by hand, then the broker it would run."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harebell.settings import load
from tests.cli.running import SECONDS, clean_environment, wait_until_written
from tests.packaging.test_build import CAN_COMPILE

PROJECT = Path(__file__).parents[2]
DOCKERFILE = (PROJECT / "Dockerfile").read_text()


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, from its FROM on."""
    found: list[list[tuple[str, str]]] = []
    for word, rest in instructions(DOCKERFILE):
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, rest))
    return found


def value(stage: list[tuple[str, str]], instruction: str) -> str:
    return next(rest for word, rest in stage if word == instruction)


def copies(stage: list[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Return the sources and the target of each COPY from the build context."""
    found = []
    for word, rest in stage:
        if word == "COPY" and "--from=" not in rest:
            *names, target = [part for part in shlex.split(rest) if not part.startswith("--")]
            found.append((names, target))
    return found


def ignored(path: str) -> bool:
    """Say whether .dockerignore keeps a path out of the build context."""
    out = False
    for line in (PROJECT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parents = [path, *map(str, Path(path).parents)]
        if any(fnmatch(parent, pattern) or fnmatch(Path(parent).name, pattern) for parent in parents):
            out = not line.startswith("!")
    return out


def test_everything_that_is_copied_exists_and_is_in_the_build_context() -> None:
    for stage in stages():
        for names, _ in copies(stage):
            for name in names:
                assert (PROJECT / name).exists(), f"Dockerfile copies {name}"
                assert not ignored(name), f".dockerignore keeps out {name}"
    assert ignored("tests/test_logs.py") and ignored(".venv/bin/python") and ignored(".git/HEAD")


def test_the_image_runs_as_another_user_and_lets_signals_through() -> None:
    final = stages()[-1]
    assert value(final, "USER") == "999:999"
    assert json.loads(value(final, "CMD")) == ["harebell", "serve"], "the exec form: PID 1 gets SIGTERM"
    assert value(final, "VOLUME") == "/var/lib/harebell"
    assert set(value(final, "EXPOSE").split()) == {"5671", "5672", "15671", "15672", "15692"}
    assert value(final, "HEALTHCHECK").endswith('CMD ["harebell", "healthcheck", "--quiet"]')


def image_environment(folder: Path) -> dict[str, str]:
    """Return the ENV of the image with the files it names taken from the project."""
    pairs = dict(pair.split("=", 1) for pair in shlex.split(value(stages()[-1], "ENV")))
    pairs.pop("PATH")
    for names, target in copies(stages()[-1]):
        pairs = {name: text.replace(target, str(PROJECT / names[0])) for name, text in pairs.items()}
    environ = clean_environment(folder, pairs)
    environ.pop("PYTHONPATH", None)  # the installation in the image is meant, not the one under test
    return environ


def test_the_image_listens_on_every_address_and_lets_guest_in_from_outside(tmp_path: Path) -> None:
    loaded = load(environ=image_environment(tmp_path), cwd=tmp_path)
    assert loaded.settings.server.listeners() == (("0.0.0.0", 5672), ("::", 5672))
    assert loaded.settings.auth.loopback_users == ()
    assert str(loaded.settings.storage.data_dir) == "/var/lib/harebell"


def test_what_users_set_wins_over_what_the_image_sets(tmp_path: Path) -> None:
    (tmp_path / "rabbitmq.conf").write_text("loopback_users.guest = true\n")
    environ = image_environment(tmp_path) | {
        "RABBITMQ_CONFIG_FILE": str(tmp_path / "rabbitmq.conf"),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DEFAULT_USER": "admin",
    }
    settings = load(environ=environ, cwd=tmp_path).settings
    assert settings.auth.loopback_users == ("guest",)
    assert settings.server.bind == ("127.0.0.1",)
    assert settings.auth.default_user == "admin"


@pytest.mark.once
@pytest.mark.timeout(600)
@pytest.mark.skipif(not CAN_COMPILE, reason="needs a C compiler and the headers of this Python")
def test_the_build_steps_by_hand_give_a_broker_that_is_healthy_and_stops(tmp_path: Path) -> None:
    build = stages()[0]
    source = tmp_path / "src"
    source.mkdir()
    for names, target in copies(build):
        for name in names:
            if (PROJECT / name).is_dir():
                leave_out = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
                shutil.copytree(PROJECT / name, source / target, ignore=leave_out)
            else:
                shutil.copy(PROJECT / name, source / target)
    steps = [rest for word, rest in build if word == "RUN" and "apt-get" not in rest]
    environ = {name: text for name, text in os.environ.items() if not name.startswith("HAREBELL_")}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    for step in steps:
        command = step.replace("/wheels", f"{tmp_path}/wheels").replace("/opt/harebell", f"{tmp_path}/opt")
        ended = subprocess.run(
            command, shell=True, cwd=source, env=environ, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"

    home = tmp_path / "home"
    home.mkdir()
    environ = image_environment(home) | {"PATH": f"{tmp_path}/opt/bin:{os.environ['PATH']}"}
    version = subprocess.run(
        ["harebell", "version"], env=environ, cwd=home, capture_output=True, text=True, check=True
    )
    assert ", compiled" in version.stdout
    command_line = [*json.loads(value(stages()[-1], "CMD")), "-p", "0", "--ports-file", "ports"]
    with (home / "errors").open("wb") as errors:
        process = subprocess.Popen(
            command_line, env=environ, cwd=home, stdout=subprocess.DEVNULL, stderr=errors
        )
    try:
        wait_until_written(home / "ports", process, home / "errors")
        check_environ = environ | {
            "RABBITMQ_NODE_PORT": str(json.loads((home / "ports").read_text())["amqp"])
        }
        shim = str(PROJECT / "config/docker/rabbitmq-diagnostics")
        for check in (["harebell", "healthcheck", "--quiet"], [shim, "-q", "ping"]):
            subprocess.run(check, env=check_environ, cwd=home, timeout=SECONDS, check=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
