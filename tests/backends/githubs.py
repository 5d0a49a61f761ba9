"""Hubs for tests: a bare repository behind http with a password, and behind a real sshd, on loopback."""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gitdevice import git

from tests.ports import free_ports
from tests.waiting import until

_BACKEND = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())


def bare(path: Path, *options: str) -> Path:
    """Make an empty bare repository."""
    git(path.parent, "init", "-q", "--bare", "-b", "main", *options, str(path))
    return path


class _Cgi(BaseHTTPRequestHandler):
    """Runs git http-backend for one who knows the password."""

    protocol_version = "HTTP/1.1"
    server: HttpHub

    def do_GET(self) -> None:
        if self.server.status is not None:
            self.send_error(self.server.status)
            return
        wanted = "Basic " + base64.b64encode(f"{self.server.user}:{self.server.password}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="hub"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._run()

    do_POST = do_GET  # noqa: N815

    def _run(self) -> None:
        url = urlsplit(self.path)
        body = self._body()
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": self.server.user,
            "REQUEST_METHOD": self.command,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            [_BACKEND / "git-http-backend"], input=body, env=environment, stdout=subprocess.PIPE, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.server.sent += len(content)  # before whoever counts can have it
        self.server.answers += 1
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


class HttpHub(ThreadingHTTPServer):
    """The repositories below ``root`` at :attr:`url`; ``status`` makes every answer that error.

    ``answers`` counts what it ran git for, ``sent`` the bytes of that, without headers.

    With ``certificate`` (a PEM file of key and certificate) it speaks TLS.
    """

    daemon_threads = True
    user = "me"
    password = "open sesame"

    def __init__(self, root: Path, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Cgi)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.root = root
        self.status: int | None = None
        self.answers = self.sent = 0
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is none of ours."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()


def certificate(path: Path, *, days: int) -> Path:
    """Write a key and its own certificate for 127.0.0.1 that ends in ``days`` days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


class SshHub:
    """An sshd of our own with its own keys; ``command`` is what a user's core.sshCommand would be."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        shutil.copy(directory / "user.pub", directory / "authorized")
        (self.port,) = free_ports(1)
        (directory / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {directory}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {directory}/authorized\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        host = (directory / "host.pub").read_text().split()
        (directory / "known").write_text(f"[127.0.0.1]:{self.port} {host[0]} {host[1]}\n")
        (directory / "config").write_text(
            f"Host thehub\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {directory}/user\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {directory}/known\n  GlobalKnownHostsFile /dev/null\n"
        )
        self.directory = directory
        self.command = f"ssh -F {directory}/config"
        sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert sshd is not None, "these tests need OpenSSH's sshd: apt install openssh-server"
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd insists on it when it runs as root
        self._log = (directory / "log").open("wb")
        self._process = subprocess.Popen([sshd, "-D", "-e", "-f", directory / "sshd_config"], stderr=self._log)
        self._await_port()

    def _await_port(self) -> None:
        def listens() -> bool:
            assert self._process.poll() is None, (self.directory / "log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(listens, why=lambda: "sshd does not listen")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()
