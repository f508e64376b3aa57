"""One envelope over one direct link: what is said, byte by byte, and the side that calls.

```
caller                          called
TLS 1.3              <--->      see `peer_tls`
                     <----      "!" your certificate is in my roster
header (88 bytes)    ---->      is it for me, from whom the certificate says, of an open round, of the right size?
                     <----      "?" send it        "+" I have it        a letter: not taken, and why
sealed envelope      ---->      written to disk
                     <----      "+"
```

The header names run, round, sender, receiver, length and SHA-256 of what follows; what follows are the very bytes that
would otherwise go through the coordinator. "+" means that the receiver holds them on disk, so the sender need not give
them to anybody else. Every wait has an end, and no length is believed before the called side knows that it is the
right one. A caller that gives up says why, and loses nothing: the envelope goes through the coordinator.
"""

import hashlib
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from synthfed.federation.peer_tls import LinkFailed, calling_context, require_listed
from synthfed.secagg.roster import Member

WELCOME, SEND, KEPT = b"!", b"?", b"+"
NOT_TAKEN: Mapping[bytes, str] = {
    b"d": "takes no direct envelopes, by its policy or in this run",
    b"u": "does not know the run",
    b"o": "takes no envelope of that round: it is over, or has not come yet",
    b"a": "is not the receiver that the envelope names, or the caller is not its sender",
    b"s": "expects an envelope of another size, or another one than was announced",
    b"k": "holds another envelope of that round from this site",
}

CONNECT_S = 5.0
ANSWER_S = 10.0  # handshake, header, answer: each
_SLOWEST_BYTES_PER_S = 1_000_000
_CHUNK = 1 << 16
_HEADER = struct.Struct("<8s32sIHHQ32s")
_MAGIC = b"SFLINK/1"
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Header:
    """What an envelope is, before it is sent.

    Attributes:
        run: Manifest hash, hex.
        sender, receiver: Roster indices.
        length: Bytes of the envelope.
        digest: SHA-256 of the envelope.
    """

    run: str
    round_index: int
    sender: int
    receiver: int
    length: int
    digest: bytes

    def pack(self) -> bytes:
        run = bytes.fromhex(self.run)
        return _HEADER.pack(_MAGIC, run, self.round_index, self.sender, self.receiver, self.length, self.digest)

    @classmethod
    def unpack(cls, raw: bytes) -> "Header":
        """Undo `pack`.

        Raises:
            ValueError: The bytes are none.
        """
        if len(raw) != HEADER_BYTES or not raw.startswith(_MAGIC):
            raise ValueError("not the header of an envelope")
        _, run, *rest = _HEADER.unpack(raw)
        return cls(run.hex(), *rest)


def hand_over(
    run: str, round_index: int, envelopes: Mapping[int, bytes], *, own: int, peers: Mapping[int, Member], identity: Path
) -> dict[int, LinkFailed]:
    """Give each peer its envelope, all at once; the peers that have not said that they hold it, and why.

    Who watches the network learns which sites talk, when and how much.

    Args:
        envelopes: Sealed, by the receiver's roster index.
        peers: The receivers, which have an address and a certificate.
        identity: Folder of this site's link key.
    """

    def one(receiver: int, sealed: bytes) -> LinkFailed | None:
        header = Header(run, round_index, own, receiver, len(sealed), hashlib.sha256(sealed).digest())
        try:
            with _called(peers[receiver], identity) as link:
                _give(link, header, sealed, peers[receiver])
        except LinkFailed as failed:
            return failed
        return None

    if not envelopes:
        return {}
    with ThreadPoolExecutor(len(envelopes), thread_name_prefix="link") as pool:
        tried = zip(envelopes, pool.map(one, envelopes, envelopes.values()), strict=True)
        return {receiver: failed for receiver, failed in tried if failed is not None}


def look_up(member: Member, identity: Path) -> None:
    """Call a site until both sides know each other, and hang up.

    Raises:
        LinkFailed: Another one answers, nobody does, or this site's certificate is not taken.
    """
    with _called(member, identity):
        pass


def read_exactly(link: ssl.SSLSocket, length: int, *, within_s: float) -> bytes:
    """Exactly so many bytes.

    Raises:
        EOFError: The other side hung up before.
        TimeoutError: They did not come in time, however busily the other side drips.
    """
    end, found = time.monotonic() + within_s, bytearray()
    while len(found) < length:
        link.settimeout(_left(end))
        piece = link.recv(min(_CHUNK, length - len(found)))
        if not piece:
            raise EOFError(f"{len(found)} of {length} bytes came")
        found += piece
    return bytes(found)


def seconds_for(length: int) -> float:
    """How long an envelope may take on its way; a slower link is given up."""
    return ANSWER_S + length / _SLOWEST_BYTES_PER_S


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _give(link: ssl.SSLSocket, header: Header, sealed: bytes, member: Member) -> None:
    """Hand one envelope over.

    Raises:
        LinkFailed: It is not known to be held by the other side.
    """
    link.settimeout(ANSWER_S)
    link.sendall(header.pack())
    answer = read_exactly(link, 1, within_s=ANSWER_S)
    if answer == SEND:
        end, view = time.monotonic() + seconds_for(len(sealed)), memoryview(sealed)
        while view:
            link.settimeout(_left(end))  # a peer that does not read holds this up until then
            view = view[link.send(view[:_CHUNK]) :]
        answer = read_exactly(link, 1, within_s=ANSWER_S)
    if answer in NOT_TAKEN:
        raise LinkFailed(f"site {member.site!r} {NOT_TAKEN[answer]}", "not taken")
    if answer != KEPT:
        raise LinkFailed(f"site {member.site!r} answers what no site says", "garbage")


@contextmanager
def _called(member: Member, identity: Path) -> Iterator[ssl.SSLSocket]:
    """A link on which both sides know each other; whatever goes wrong on it is a `LinkFailed`."""
    whom = f"site {member.site!r} at {member.address}"
    host, _, port = member.address.rpartition(":")
    context = calling_context(identity)
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_S) as plain:
            plain.settimeout(ANSWER_S)
            with context.wrap_socket(plain) as link:
                require_listed(link.getpeercert(binary_form=True) or b"", member)
                if read_exactly(link, 1, within_s=ANSWER_S) != WELCOME:
                    raise LinkFailed(f"{whom} answers what no site says", "garbage")
                yield link
    except TimeoutError as error:
        raise LinkFailed(f"{whom} does not answer in time; does its firewall let this site in?", "timeout") from error
    except (EOFError, ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError, BrokenPipeError) as error:
        raise LinkFailed(f"{whom} ends the connection in the middle", "cut") from error
    except ssl.SSLError as error:
        raise LinkFailed(
            f"{whom} turns this site away ({error.reason}); it speaks no TLS 1.3, or holds another roster", "refused"
        ) from error
    except (OSError, UnicodeError) as error:
        raise LinkFailed(
            f"{whom} cannot be reached ({error}); is it up, and does its firewall let this site in?", "unreachable"
        ) from error
