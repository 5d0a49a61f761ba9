"""A throw-away Prosody on loopback for ``autosync demo --channel xmpp``."""

from __future__ import annotations

import datetime
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autosync.cli.demo.offspring import end_with_parent
from autosync.errors import AutosyncError

DOMAIN = "localhost"
ACCOUNT = "demo"
_PATIENCE = 20.0

_CONFIGURATION = """
run_as_root = false
daemonize = false
pidfile = "{root}/prosody.pid"
data_path = "{root}/data"
log = {{ info = "{root}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{}}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{ "disco"; "roster"; "saslauth"; "tls"; "smacks"; "ping"; "pep"; "posix" }}
modules_disabled = {{ "s2s"; "offline" }}
c2s_require_encryption = true
authentication = "internal_hashed"
storage = "internal"
network_settings = {{ nagle = false }}
ssl = {{ key = "{root}/key.pem"; certificate = "{root}/cert.pem" }}
VirtualHost "{domain}"
"""


class Prosody:
    """The server, its certificate and one account; everything lies in ``root``, a temporary folder."""

    def __init__(self) -> None:
        if shutil.which("prosody") is None:
            raise AutosyncError(
                "Prosody is not installed, so the demo cannot use XMPP",
                hint="Install it (Debian: apt-get install prosody), or run `autosync demo` without --channel xmpp.",
            )
        # Not below the demo's folder: Prosody never runs as root, and root's home is root's alone.
        self.root = Path(tempfile.mkdtemp(prefix="autosync-demo-prosody-"))
        self.port = _free_port()
        self.password = secrets.token_urlsafe(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def certificate(self) -> Path:
        """The certificate that clients pin."""
        return self.root / "cert.pem"

    def start(self) -> None:
        """Start the server and return when clients can log in."""
        accounts = self.root / "data" / DOMAIN / "accounts"
        accounts.mkdir(parents=True)
        # Prosody hashes the password at the first login.
        (accounts / f"{ACCOUNT}.dat").write_text(f'return {{ ["password"] = "{self.password}"; }};\n')
        _write_certificate(self.root)
        configuration = self.root / "prosody.cfg.lua"
        configuration.write_text(_CONFIGURATION.format(root=self.root, port=self.port, domain=DOMAIN))
        owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if owner is not None:  # Prosody refuses to run as root
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        with (self.root / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                ["prosody", "-F", "--config", str(configuration)],
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
                preexec_fn=end_with_parent,  # noqa: PLW1509  # no thread runs yet
            )
        self._wait()

    def stop(self, *, remove: bool) -> None:
        """End the server, and remove its folder if it is to go."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if remove:
            shutil.rmtree(self.root, ignore_errors=True)

    def _wait(self) -> None:
        assert self._process is not None  # noqa: S101  # start() has set it
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AutosyncError(
                        "Prosody did not start", hint=f"See {self.root / 'output.log'} and {self.root / 'prosody.log'}."
                    ) from None
                time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = os.open(directory / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(file, "wb") as out:
        out.write(private)
