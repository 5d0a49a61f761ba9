"""What keeps an XMPP account offline, in the user's words."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence

from slixmpp.exceptions import IqError

from autosync.errors import AutosyncError, Refused, Unreachable

# X509_V_ERR_* of OpenSSL's x509_vfy.h, as SSLCertVerificationError.verify_code gives them.
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_HOST = 62

_PUBSUB_ERRORS = "http://jabber.org/protocol/pubsub#errors"


class Untrusted(AutosyncError):
    """The server could not prove that it is the account's server."""


class OutOfDate(Untrusted):
    """Its certificate is of another time than this computer's clock shows."""


class NotAdmitted(AutosyncError):
    """A pubsub service does not let this account take part; somebody may change that at any time."""


def no_connection(server: str, errors: Sequence[object], *, ca_file: str | None) -> AutosyncError:
    """Return why no address of ``server`` (``name`` or ``name:port``) could be connected to.

    ``errors`` are what slixmpp reports: exceptions, or a text when a name has no address.
    """
    for error in errors:
        if isinstance(error, ssl.SSLError):
            return not_trusted(server, error, ca_file=ca_file)
    last = errors[-1] if errors else "no address answered"
    if isinstance(last, str) and "DNS" in last:
        return Unreachable(
            f"The name of the XMPP server {server} has no address in DNS",
            hint="Check the network and the spelling in xmpp.jid, or name the server in xmpp.host.",
        )
    reason = os.strerror(last.errno) if isinstance(last, OSError) and last.errno else last
    return Unreachable(
        f"The XMPP server {server} cannot be reached ({reason})",
        hint="Check the network, xmpp.host and xmpp.port; it is tried again by itself.",
    )


def not_trusted(server: str, error: ssl.SSLError, *, ca_file: str | None) -> Untrusted:
    """Return what is wrong with the certificate (or the TLS) of ``server``."""
    code = getattr(error, "verify_code", None)
    if code == _EXPIRED:
        return OutOfDate(
            f"The certificate of the XMPP server {server} has expired",
            hint="Ask the server's administrator to renew it, and check this computer's clock.",
        )
    if code == _NOT_YET_VALID:
        return OutOfDate(
            f"The certificate of the XMPP server {server} is not valid yet", hint="Check this computer's clock."
        )
    if code == _WRONG_HOST:
        return Untrusted(
            f"The certificate of the XMPP server {server} is for another host ({error.verify_message})"
            if isinstance(error, ssl.SSLCertVerificationError)
            else f"The certificate of the XMPP server {server} is for another host",
            hint="Check the domain in xmpp.jid; it must be one that the certificate names. "
            "A network that wants a login in the browser first looks like this too.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(
            f"The certificate of the XMPP server {server} is not trusted ({error.verify_message})",
            hint=f"Only {ca_file} is trusted (xmpp.ca-file): put the server's present certificate there."
            if ca_file
            else "If it is your own server, copy its certificate here and name the copy in xmpp.ca-file.",
        )
    return Untrusted(
        f"No encrypted connection to the XMPP server {server} is possible ({getattr(error, 'reason', None) or error})",
        hint="Check xmpp.host and xmpp.port: 5222 is the usual port, 5223 and 443 are for TLS from the first byte.",
    )


def other_machine(server: str, cause: Untrusted) -> Unreachable:
    """Return the error for a server that has proved itself before, and now cannot."""
    return Unreachable(
        f"Another machine answers in place of the XMPP server {server}, as it seems: {cause.title}",
        hint="A network that wants a login first does so: open a web page in it. It is tried again by itself.",
    )


def not_encrypted(server: str) -> Untrusted:
    """Return the error for a server that would let us log in without TLS."""
    return Untrusted(
        f"The XMPP server {server} offers no encryption",
        hint="Nothing was sent. Ask the server's administrator to enable TLS, or check who answers at that address.",
    )


def no_safe_login(server: str) -> Refused:
    """Return the error for a server that wants the password itself."""
    return Refused(
        f"The XMPP server {server} offers no login with SCRAM, and the password is never sent itself",
        hint="Ask the server's administrator to enable SCRAM-SHA-256 or SCRAM-SHA-1.",
    )


def login_refused(jid: str, condition: str) -> AutosyncError:
    """Return why the login was refused (RFC 6120, section 6.5)."""
    if condition == "temporary-auth-failure":
        return Unreachable(
            f"The XMPP server cannot check the password of {jid} at the moment", hint="It is tried again by itself."
        )
    if condition in ("account-disabled", "credentials-expired"):
        return Refused(
            f"The XMPP account {jid} cannot log in ({condition})", hint="Ask the server's administrator about it."
        )
    return Refused(
        f"The XMPP server refused the password of {jid} ({condition or 'not-authorized'})",
        hint="Check xmpp.jid and xmpp.password-command (or xmpp.password); it is tried again every few minutes.",
    )


def resource_refused(jid: str) -> Refused:
    """Return the error for a login that did not get its resource."""
    return Refused(
        f"The XMPP server gave {jid} no session",
        hint="The account may have too many devices connected, or two devices have one name; close one or rename it.",
    )


def login_stuck(server: str, seconds: float) -> Unreachable:
    """Return the error for a login without an end."""
    return Unreachable(
        f"The XMPP server {server} did not finish the login within {seconds:g} seconds",
        hint="It may be overloaded; it is tried again by itself.",
    )


def silent(server: str, seconds: float) -> Unreachable:
    """Return the error for an established connection on which no answer comes."""
    return Unreachable(
        f"The XMPP server {server} did not answer within {seconds:g} seconds", hint="It is tried again by itself."
    )


def connection_ended(server: str, jid: str, reason: object, condition: str, text: str) -> AutosyncError:
    """Return why a connection ended: the stream error ``condition`` if there was one
    (RFC 6120, section 4.9.3), else ``reason``."""
    said = f"{condition}: {text}" if text else condition
    if condition == "conflict":
        return Refused(
            f"Another connection took the place of {jid}",
            hint="Two devices have one name (give each its own: the key device), or the account has more devices than "
            "its server allows (ejabberd: max_user_sessions, 10 as shipped).",
        )
    if condition == "host-unknown":
        return Refused(
            f"The server that answers for {server} does not serve that domain ({said})",
            hint="Check the domain in xmpp.jid, and xmpp.host.",
        )
    if condition in ("policy-violation", "resource-constraint"):
        return Unreachable(
            f"The XMPP server {server} closed the connection for a violation of its policy ({said})",
            hint="Too many devices on one account or too much traffic are the usual causes; it is tried again.",
        )
    if condition == "see-other-host":
        return Refused(
            f"The XMPP server {server} asks to connect to another host, which is not done unasked",
            hint="If you trust that host, name it in xmpp.host.",
        )
    return Unreachable(
        f"The connection to the XMPP server {server} was lost ({said or reason or 'closed by the server'})",
        hint="It is tried again by itself.",
    )


def item_refused(server: str, error: IqError) -> AutosyncError:
    """Return why the server did not take an announcement."""
    return _for_now(server, error) or Refused(
        f"The XMPP server {server} refused an announcement ({_said(error)})",
        hint="The account may be limited; ask the server's administrator.",
    )


def no_own_node(jid: str, server: str, error: IqError) -> AutosyncError:
    """Return why there is no node for the announcements of ``jid``: most often the server has no PEP."""
    return (
        _too_few_items(jid, error)
        or _for_now(server, error)
        or Refused(
            f"The XMPP server offers no personal eventing (PEP, XEP-0163) for {jid} ({_said(error)})",
            hint="Ask its administrator to enable it (Prosody: module pep; ejabberd: mod_pubsub with the plugin pep), "
            "or use another account.",
        )
    )


def no_service_node(service: str, jid: str, server: str, error: IqError) -> AutosyncError:
    """Return why the node of the pubsub service ``service`` cannot be used by ``jid``."""
    if known := _too_few_items(service, error) or _for_now(server, error):
        return known
    if error.condition == "item-not-found":
        return NotAdmitted(
            f"The service {service} has no node for announcements yet, and {jid} may not make it",
            hint="Start autosync with an account that may, and that lists this one under xmpp.members. Its server's "
            f'administrator allows it so: Prosody: admins = {{ "{jid}" }} below Component "{service}" "pubsub"; '
            "ejabberd: access_createnode in mod_pubsub.",
        )
    # Also a server that does not reach other servers says not-allowed: then nothing speaks of pubsub.
    of_pubsub = error.iq.xml.find(f".//{{{_PUBSUB_ERRORS}}}*") is not None
    if error.condition == "forbidden" or (error.condition == "not-allowed" and of_pubsub):
        return NotAdmitted(
            f"The node for announcements on {service} is not open to {jid} ({_said(error)})",
            hint=f"Whoever made it lists {jid} under xmpp.members and starts autosync anew. If it is another team's, "
            "give yours a name of its own: xmpp.node.",
        )
    return NotAdmitted(
        f"There is no pubsub service (XEP-0060) at {service} ({_said(error)})",
        hint=f'Check xmpp.service. The server\'s administrator adds it so: Prosody: Component "{service}" "pubsub"; '
        "ejabberd: mod_pubsub with the plugin flat.",
    )


def node_not_private(jid: str, access: str) -> Refused:
    """Return the error for a node that others could read."""
    return Refused(
        f"The node for announcements of {jid} stays readable by others (access model {access or 'unknown'})",
        hint="Delete that node with another XMPP client, or use another account.",
    )


def node_deleted(owner: str) -> Unreachable:
    """Return the error for a node that is there no more."""
    return Unreachable(f"The node for announcements of {owner} was deleted", hint="It is made again by itself.")


def not_told(owner: str) -> Unreachable:
    """Return the error for a subscription that was ended by somebody else."""
    return Unreachable(
        f"The server did not tell this device any more what is new in the node of {owner}",
        hint="Another client of that account has ended it; it is listened to again by itself.",
    )


def _too_few_items(owner: str, error: IqError) -> Refused | None:
    """Return the error for a server that lets no node keep enough; ejabberd says as if that would pass."""
    if "max_items" not in (error.text or ""):
        return None
    return Refused(
        f"The XMPP server lets a node of {owner} keep too few items ({_said(error)})",
        hint="Its administrator allows 256: Prosody: pep_max_items (and pubsub_max_items of a service); ejabberd: "
        "max_items_node in mod_pubsub.",
    )


def _for_now(server: str, error: IqError) -> Unreachable | None:
    """Return an error that passes if the server says that it will (RFC 6120, section 8.3.2)."""
    if error.etype != "wait":
        return None
    return Unreachable(f"The XMPP server {server} is busy ({_said(error)})", hint="It is tried again by itself.")


def _said(error: IqError) -> str:
    return f"{error.condition}: {error.text}" if error.text else str(error.condition)
