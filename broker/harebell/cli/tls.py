"""``harebell tls``: a certificate to try TLS with, made by openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import click

from harebell.cli.exits import CANNOT_CREATE, UNAVAILABLE, Failure
from harebell.cli.nouns import Noun
from harebell.cli.options import quiet_option
from harebell.cli.output import say

SECONDS = 30.0


@click.group(cls=Noun)
def tls() -> None:
    """Certificates for trying TLS."""


@tls.command("dev-cert")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("."))
@click.option("--name", "names", multiple=True, default=("localhost",), show_default=True, help="Host name.")
@click.option(
    "--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it is good."
)
@quiet_option
def dev_cert(folder: Path, names: tuple[str, ...], days: int) -> None:
    """Make cert.pem and key.pem in a folder, signed by themselves: for development, not for production."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise Failure("openssl is not installed here, and it makes the certificate", UNAVAILABLE)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    for path in (certificate, key):
        if path.exists():
            raise Failure(f"{path} is there already", CANNOT_CREATE)
    alternatives = ",".join([*(f"DNS:{name}" for name in names), "IP:127.0.0.1", "IP:::1"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key.touch(mode=0o600)
    except OSError as error:
        raise Failure(f"{folder}: {error.strerror}", CANNOT_CREATE) from None
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", str(days), "-subj", f"/CN={names[0]}"]
    command += ["-addext", f"subjectAltName={alternatives}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if ended.returncode:
        raise Failure(f"openssl failed: {ended.stderr.strip()}", CANNOT_CREATE)
    say(f"harebell serve --tls-cert {certificate} --tls-key {key}")
    say(f"clients trust {certificate} as their certificate authority")
