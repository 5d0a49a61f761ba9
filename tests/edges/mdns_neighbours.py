"""What strangers on a network can do with multicast DNS: hear everything, and say anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSRecord, DNSText

from autosync.channels.mdns import PORT, SERVICE
from tests.waiting import PATIENCE

GROUP = ("224.0.0.251", PORT)
_PTR, _TXT, _IN, _UNIQUE = 12, 16, 1, 0x8000
_QUESTION, _ANSWER = 0, 0x8400


def text_record(label: str, text: bytes, *, type_: str = SERVICE, ttl: int = 4500) -> DNSText:
    """Return the TXT record of a service."""
    return DNSText(f"{label}.{type_}", _TXT, _IN | _UNIQUE, ttl, text)


def pointer(label: str) -> DNSPointer:
    """Return the record that says that there is a service of our type."""
    return DNSPointer(SERVICE, _PTR, _IN, 4500, f"{label}.{SERVICE}")


def answer(*records: DNSRecord) -> bytes:
    """Return one packet with these records."""
    out = DNSOutgoing(_ANSWER)
    for record in records:
        out.add_answer_at_time(record, 0)
    (packet,) = out.packets()
    return packet


def question() -> bytes:
    """Return a packet that asks who is there."""
    out = DNSOutgoing(_QUESTION)
    out.add_question(DNSQuestion(SERVICE, _PTR, _IN))
    (packet,) = out.packets()
    return packet


def texts_in(packet: bytes) -> dict[str, bytes]:
    """Return the TXT records of our type in a packet, by label."""
    records = DNSIncoming(packet).answers()
    return {r.name.partition(".")[0]: r.text for r in records if isinstance(r, DNSText) and r.name.endswith(SERVICE)}


def is_answer_to_a_question(packet: bytes) -> bool:
    """Return whether it answers a question: what tells of a service unasked has all of it as answers."""
    return DNSIncoming(packet).num_additionals > 0


def shout(packets: Sequence[bytes], address: str = "127.0.0.1") -> None:
    """Send packets to the group by the interface that has this address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # From any other port they would be taken for questions of a simple resolver (RFC 6762, 6.7).
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sender.bind((address, PORT))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        for packet in packets:
            sender.sendto(packet, GROUP)


@contextlib.contextmanager
def eavesdropper(address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A socket that receives what is sent to the group by the interface that has this address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        receiver.bind(GROUP)
        member = struct.pack("=4s4s", socket.inet_aton(GROUP[0]), socket.inet_aton(address))
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        receiver.setblocking(False)
        yield receiver


async def overheard(receiver: socket.socket) -> bytes:
    """Return the next packet."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.get_running_loop().sock_recv(receiver, 9000)
