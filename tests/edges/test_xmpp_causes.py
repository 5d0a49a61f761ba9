"""What keeps an XMPP account offline, where no server can be made to show it."""

from __future__ import annotations

import ssl

import pytest
from slixmpp.exceptions import IqError
from slixmpp.stanza import Iq

from autosync.channels import xmpp_causes as causes
from autosync.errors import AutosyncError, Refused, Unreachable


def answer(condition: str, kind: str, text: str = "") -> IqError:
    """Return the error that slixmpp makes of an error answer."""
    iq = Iq()  # type: ignore[no-untyped-call]  # slixmpp's
    iq["error"]["condition"], iq["error"]["type"], iq["error"]["text"] = condition, kind, text
    return IqError(iq)  # type: ignore[no-untyped-call]  # slixmpp's


def verification(code: int) -> ssl.SSLCertVerificationError:
    """Return the error of a certificate that OpenSSL refused with ``code``."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "the reason"
    return error


@pytest.mark.parametrize(
    ("cause", "kind", "title"),
    [
        (
            causes.not_trusted("x.org", verification(9), ca_file=None),
            causes.OutOfDate,
            "The certificate of the XMPP server x.org is not valid yet",
        ),
        (
            causes.not_trusted("x.org", ssl.SSLError(1, "wrong version number"), ca_file=None),
            causes.Untrusted,
            "No encrypted connection to the XMPP server x.org is possible (wrong version number)",
        ),
        (
            causes.no_connection("x.org", [ConnectionRefusedError(111, "no"), verification(10)], ca_file=None),
            causes.OutOfDate,
            "The certificate of the XMPP server x.org has expired",
        ),
        (
            causes.other_machine("x.org", causes.Untrusted("Its certificate is another one", hint="")),
            Unreachable,
            "Another machine answers in place of the XMPP server x.org, as it seems: Its certificate is another one",
        ),
        (
            causes.no_connection("x.org", [], ca_file=None),
            Unreachable,
            "The XMPP server x.org cannot be reached (no address answered)",
        ),
        (
            causes.login_refused("me@x.org", "temporary-auth-failure"),
            Unreachable,
            "The XMPP server cannot check the password of me@x.org at the moment",
        ),
        (
            causes.login_refused("me@x.org", "account-disabled"),
            Refused,
            "The XMPP account me@x.org cannot log in (account-disabled)",
        ),
        (causes.resource_refused("me@x.org/laptop"), Refused, "The XMPP server gave me@x.org/laptop no session"),
        (
            causes.item_refused("x.org", answer("resource-constraint", "wait", "slow down")),
            Unreachable,
            "The XMPP server x.org is busy (resource-constraint: slow down)",
        ),
        (
            causes.item_refused("x.org", answer("not-allowed", "cancel")),
            Refused,
            "The XMPP server x.org refused an announcement (not-allowed)",
        ),
        (
            causes.node_not_private("me@x.org", "open"),
            Refused,
            "The node for announcements of me@x.org stays readable by others (access model open)",
        ),
    ],
)
def test_cause(cause: AutosyncError, kind: type[AutosyncError], title: str) -> None:
    assert (type(cause), cause.title) == (kind, title)
    assert cause.hint.endswith(".")
