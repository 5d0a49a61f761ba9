"""Lets a device into a workspace by one line: the line, what is granted for it, both ends of the way between."""

from autosync.invitation.grant import Hub, Offer, XmppOffer
from autosync.invitation.inviter import Invitation, Invitations
from autosync.invitation.joiner import Arrival, reached
from autosync.invitation.line import InvitationLine, read_line, text_of

__all__ = [
    "Arrival",
    "Hub",
    "Invitation",
    "InvitationLine",
    "Invitations",
    "Offer",
    "XmppOffer",
    "reached",
    "read_line",
    "text_of",
]
