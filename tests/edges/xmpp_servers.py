"""Real Prosody and ejabberd servers for tests: unprivileged, on one loopback port, in a directory of their own."""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.ports import free_ports
from tests.waiting import PATIENCE, stand_still

DOMAIN = "localhost"
PASSWORD = "correct horse"
SERVICE = f"pubsub.{DOMAIN}"


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    return free_ports(1)[0]


def write_certificate(directory: Path, *, host: str = DOMAIN, days: int = 30) -> Path:
    """Write a self-signed certificate and its key as ``cert.pem``, ``key.pem`` and ``both.pem``.

    With negative ``days`` it has expired that many days ago.  Returns the certificate's path.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in (("cert.pem", cert_pem), ("key.pem", key_pem), ("both.pem", cert_pem + key_pem)):
        (directory / file).write_bytes(content)
    return directory / "cert.pem"


class XmppServer(ABC):
    """A server process that keeps its port and its accounts over restarts.

    ``accounts`` are names; every password is :data:`PASSWORD`.  ``host`` and ``days`` are
    the certificate's.  ``pep`` says whether the server offers personal eventing.  ``makers`` are
    the accounts that may make nodes on the pubsub service :data:`SERVICE`, all by default.
    ``limited`` switches on the rate limits that the server is shipped with, and ``sessions`` is how
    many an account may have where that is limited.  ``items`` is how many a node may keep, if not as many as
    are shipped.  Started by root it runs as *nobody*.  Use it in
    a ``with`` statement: nothing survives that.
    """

    name: str
    program: str

    def __init__(
        self,
        accounts: Sequence[str],
        *,
        host: str = DOMAIN,
        days: int = 30,
        pep: bool = True,
        makers: Sequence[str] | None = None,
        limited: bool = False,
        sessions: int = 10,
        items: int | None = None,
    ) -> None:
        if shutil.which(self.program) is None:
            raise RuntimeError(f"{self.program} is not installed: apt install prosody ejabberd")
        # Not below pytest's own directory, which only its owner may enter.
        self.root = Path(tempfile.mkdtemp(prefix=f"autosync-{self.name}-"))
        self.port = free_port()
        self.accounts = tuple(accounts)
        self.pep = pep
        self.makers = self.accounts if makers is None else tuple(makers)
        self.limited = limited
        self.sessions = sessions
        self.items = items
        (self.root / "data").mkdir()
        self.ca_file = str(write_certificate(self.root, host=host, days=days))
        self._process: subprocess.Popen[bytes] | None = None
        self.configure()
        self._owner = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        if self._owner is not None:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        # Ours to read in any case; it is a throw-away key.
        self.root.chmod(0o755)

    @abstractmethod
    def configure(self) -> None:
        """Write configuration and accounts below ``root``."""

    @abstractmethod
    def argv(self) -> Sequence[str]:
        """Return the command line that runs the server in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Return what the server needs in its environment."""
        return {}

    def is_ready(self) -> bool:
        """Return whether all accounts can log in."""
        return self._speaks_xmpp()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return when clients can log in."""
        owner = self._owner
        with (self.root / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self.argv(),
                cwd=self.root,
                env={"PATH": os.environ["PATH"], "HOME": str(self.root), "LANG": "C.UTF-8", **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=None if owner is None else owner.pw_uid,
                group=None if owner is None else owner.pw_gid,
                extra_groups=None if owner is None else [],
            )
        self._await(self.is_ready)

    def stop(self) -> None:
        """End the server as an administrator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop the server without closing anything; connections to it are still accepted by the kernel."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        stand_still(self.process.pid)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server, whatever its state, and remove everything it wrote."""
        if self._process is not None:
            self._end(signal.SIGKILL)
        shutil.rmtree(self.root)

    def __enter__(self) -> XmppServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, how: signal.Signals) -> None:
        process = self.process
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what the server itself has started
            self._process = None

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                state = "runs, but nobody can log in" if code is None else f"exited with {code}"
                raise RuntimeError(f"{self.name} {state}:\n{(self.root / 'output.log').read_text()[-2000:]}")
            time.sleep(0.02)

    def _speaks_xmpp(self) -> bool:
        header = (
            f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(header.encode())
                while b"features>" not in answer and (part := connection.recv(4096)):
                    answer += part
        except OSError:
            return False
        return b"features>" in answer


_PROSODY = """
run_as_root = false
daemonize = false
pidfile = "{root}/prosody.pid"
data_path = "{root}/data"
certificates = "{root}"
log = {{ info = "{root}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{}}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{ "disco"; "roster"; "saslauth"; "tls"; "smacks"; "ping"; "time"; "posix"; {modules} }}
modules_disabled = {{ "s2s"; "offline" }}
c2s_require_encryption = true
authentication = "internal_hashed"
storage = "internal"
ssl = {{ key = "{root}/key.pem"; certificate = "{root}/cert.pem" }}
{limits}
{items}
VirtualHost "{domain}"
Component "{service}" "pubsub"
    admins = {{ {admins} }}
    {service_items}
"""


class Prosody(XmppServer):
    """Prosody, as Debian ships it."""

    name = "prosody"
    program = "prosody"

    def configure(self) -> None:
        """Write the configuration; a file with a plain password is an account, hashed at its first login."""
        (self.root / "prosody.cfg.lua").write_text(
            _PROSODY.format(
                root=self.root,
                port=self.port,
                domain=DOMAIN,
                service=SERVICE,
                modules=("" if not self.pep else '"pep";') + ("" if not self.limited else '"limits";'),
                limits='limits = { c2s = { rate = "10kb/s" } }' if self.limited else "",
                items="" if self.items is None else f"pep_max_items = {self.items}",
                service_items="" if self.items is None else f"pubsub_max_items = {self.items}",
                admins=", ".join(f'"{maker}@{DOMAIN}"' for maker in self.makers),
            )
        )
        accounts = self.root / "data" / DOMAIN / "accounts"
        accounts.mkdir(parents=True)
        for account in self.accounts:
            (accounts / f"{account}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')

    def argv(self) -> Sequence[str]:
        """Return the command line."""
        return ["prosody", "-F", "--config", f"{self.root}/prosody.cfg.lua"]


_EJABBERD = """
loglevel: warning
hosts: [{domain}]
certfiles: ["{root}/both.pem"]
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
    starttls_required: true
    {limits}
auth_method: internal
auth_password_format: scram
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
acl: {{local: {{user_regexp: ""}}, maker: {{user: [{makers}]}}}}
access_rules: {{local: {{allow: local}}, makers: {{allow: maker}}}}
shaper: {{normal: {{rate: 3000, burst_size: 20000}}}}
shaper_rules: {{max_user_sessions: {sessions}, c2s_shaper: {{normal: all}}}}
modules:
  mod_disco: {{}}
  mod_ping: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{resend_on_timeout: if_offline}}
{pep}
"""

_EJABBERD_PEP = """
  mod_caps: {}
  mod_pubsub: {access_createnode: makers, plugins: [flat, pep]%s}
"""


class Ejabberd(XmppServer):
    """ejabberd, as Debian ships it, run by ``erl`` itself: without ``-sname`` it needs no epmd."""

    name = "ejabberd"
    program = "erl"

    def configure(self) -> None:
        """Write the configuration; accounts are registered at each start."""
        few = "" if self.items is None else f", max_items_node: {self.items}"
        (self.root / "ejabberd.yml").write_text(
            _EJABBERD.format(
                root=self.root,
                port=self.port,
                domain=DOMAIN,
                pep=_EJABBERD_PEP % few if self.pep else "",
                limits="shaper: c2s_shaper" if self.limited else "",
                makers=", ".join(self.makers),
                sessions=self.sessions,
            )
        )
        (self.root / "log").mkdir()

    def argv(self) -> Sequence[str]:
        """Return the command line; the file ``ready`` appears once the accounts exist."""
        register = "".join(
            f'ejabberd_auth:try_register(<<"{account}">>,<<"{DOMAIN}">>,<<"{PASSWORD}">>),' for account in self.accounts
        )
        return [
            *("erl", "-noinput", "+K", "true", "-mnesia", "dir", f'"{self.root}/data"', "-s", "ejabberd"),
            *("-eval", f'{register}file:write_file("{self.root}/ready",<<>>).'),
        ]

    def environment(self) -> Mapping[str, str]:
        """Return where ejabberd finds its libraries, configuration and log."""
        libraries = glob.glob("/usr/lib/*/ejabberd-*")
        return {
            "EJABBERD_CONFIG_PATH": f"{self.root}/ejabberd.yml",
            "EJABBERD_LOG_PATH": f"{self.root}/log/ejabberd.log",
            "ERL_LIBS": ":".join(sorted({os.path.dirname(path) for path in libraries})),
            "ERL_CRASH_DUMP_BYTES": "0",
        }

    def start(self) -> None:
        """Start the server and return when clients can log in."""
        (self.root / "ready").unlink(missing_ok=True)
        super().start()

    def is_ready(self) -> bool:
        """Return whether all accounts are registered."""
        return (self.root / "ready").exists() and self._speaks_xmpp()


SERVERS: Mapping[str, type[XmppServer]] = {"prosody": Prosody, "ejabberd": Ejabberd}
