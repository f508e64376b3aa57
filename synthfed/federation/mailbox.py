"""The side of direct links that is called: takes sealed parts from peers and keeps them until this site works on them.

A ClientApp lives for one message and would meet its peers only by luck. So `synthfed site up` listens, for as long as
it runs, and a peer hands its part over whenever it is ready: no message more than without links, nobody waits for
anybody, and what listens is the code that the hospital installed, not a bundle.

It listens only where `peer.toml` names an address to bind and the policy says `direct`. It talks to sites of the pinned
roster, and takes one part per round and dealer, of the size that the run's signed manifest gives, in runs in which this
site enrolled. Whoever is not in the roster gets no further than the TLS handshake.
"""

import socket
import ssl
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from synthfed.errors import FederationError, SynthfedError
from synthfed.federation.inbox import Inbox, NotKept
from synthfed.federation.peer_link import (
    ANSWER_S,
    HEADER_BYTES,
    KEPT,
    NOT_TAKEN,
    SEND,
    WELCOME,
    Header,
    read_exactly,
    seconds_for,
)
from synthfed.federation.peer_tls import listening_context, require_own_listed
from synthfed.federation.site import Site
from synthfed.federation.sums import check_roster, sum_config
from synthfed.secagg import messages
from synthfed.secagg.parts import box_bytes
from synthfed.secagg.roster import Member

CONFIG = "peer.toml"  # `address`: what the roster lists; `listen`: where this machine binds
_LAST_S = 3.0
_SAY_AGAIN_S = 60.0
_MOST_SAID = 100
_MOST_OF_A_SITE = 2  # one call, and one that was cut and is not seen to be gone yet
_MOST_UNKNOWN = 16  # calls of which nobody knows yet whose they are


def listen_address(folder: Path) -> tuple[str, int] | None:
    """Where a site's own configuration says that it listens; None where it has none.

    Raises:
        FederationError: The file says something else than host:port.
    """
    try:
        said = tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))["listen"]
        host, _, port = str(said).rpartition(":")
        return host, int(port)
    except FileNotFoundError:
        return None
    except (KeyError, ValueError) as error:
        raise FederationError(f'{folder / CONFIG} needs a line such as listen = "0.0.0.0:9443"') from error


class Mailbox:
    """Listens while inside `with`, in threads of its own.

    Args:
        folder, name: The site.
        say: Is told where it listens and whom it turned away; no content.
    """

    def __init__(self, folder: Path, name: str, *, say: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self._name = name
        self._say = say
        self._said: dict[str, float] = {}
        self._counting = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None

    def __enter__(self) -> "Mailbox":
        """Listen, if this site's configuration, roster and policy say so; where it cannot, it says why.

        A site that does not listen takes part all the same: its parts come through the coordinator.

        Raises:
            FederationError: peer.toml says something else than host:port.
        """
        address = listen_address(self._folder)
        if address is None:
            return self
        try:
            self._listen(address)
        except FederationError as error:
            self._say(f"site {self._name!r} does not listen for direct links: {error}")
        except OSError as error:
            self._say(
                f"site {self._name!r} cannot listen on {address[0]}:{address[1]} ({error.strerror}); change `listen` "
                f"in {self._folder / CONFIG}, or end what holds the port, and start it again"
            )
        return self

    def _listen(self, address: tuple[str, int]) -> None:
        with Site(self._folder, self._name) as site:
            if not site.policy.direct:
                raise FederationError("policy.toml says direct = false")
            own, identity = site.roster.member(self._name), self._folder / "identity"
            require_own_listed(identity, own)
            peers = {m.certificate: m for m in site.roster.members if m.certificate and m.index != own.index}
        if not peers:
            raise FederationError("no other site has an address in the roster")
        context = listening_context(identity, peers)
        self._listener = socket.create_server(address)
        self._say(f"site {self._name!r} listens on {address[0]}:{address[1]} for the other sites' direct links")
        self._start(self._accept, self._listener, context, peers, own)

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for callers
            self._listener.close()
            self._listener = None
        for thread in list(self._threads):
            thread.join(_LAST_S)  # a peer that is cut off here gives its part to the coordinator

    @property
    def listens(self) -> bool:
        """Whether it does."""
        return self._listener is not None

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        def whole() -> None:
            try:
                work(*arguments)
            finally:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=whole, name=f"mailbox {self._name}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _accept(
        self, listener: socket.socket, context: ssl.SSLContext, peers: Mapping[bytes, Member], own: Member
    ) -> None:
        while True:
            try:
                plain, caller = listener.accept()
            except OSError:
                return  # it was closed
            if self._enters("", _MOST_UNKNOWN):
                self._start(self._answer, plain, caller[0], context, peers, own)
            else:
                plain.close()

    def _answer(
        self,
        plain: socket.socket,
        caller: str,
        context: ssl.SSLContext,
        peers: Mapping[bytes, Member],
        own: Member,
    ) -> None:
        """One call, from the handshake to its end."""
        known = False
        try:
            plain.settimeout(ANSWER_S)
            with plain, context.wrap_socket(plain, server_side=True) as link:
                peer = peers[link.getpeercert(binary_form=True) or b""]
                if self._enters(peer.site, _MOST_OF_A_SITE):
                    known = self._leaves("")
                    try:
                        self._serve(link, peer, own)
                    finally:
                        self._leaves(peer.site)
        except ssl.SSLError as error:
            self._say_once(f"turned away a caller from {caller}: no certificate of the roster ({error.reason})")
        except (OSError, KeyError):
            self._say_once(f"lost a caller from {caller} before it was known")
        finally:
            if not known:
                self._leaves("")

    def _serve(self, link: ssl.SSLSocket, peer: Member, own: Member) -> None:
        """Take one envelope from an authenticated site."""
        told = f"direct link from site {peer.site!r}"
        try:
            link.sendall(WELCOME)
            try:
                raw = read_exactly(link, HEADER_BYTES, within_s=ANSWER_S)
            except EOFError:
                return  # it only looked whether somebody is here
            header = Header.unpack(raw)
            answer = self._take(link, header, peer, own)
            link.settimeout(ANSWER_S)
            link.sendall(answer)
            if answer != KEPT:
                self._say_once(f"{told}: this site {NOT_TAKEN[answer]} (round {header.round_index})")
        except (OSError, EOFError) as error:
            self._say_once(f"{told} was cut ({type(error).__name__}); the part goes through the coordinator")
        except ValueError:
            self._say_once(f"{told}: says what no site says; the part goes through the coordinator")

    def _take(self, link: ssl.SSLSocket, header: Header, peer: Member, own: Member) -> bytes:
        """The letter to answer: `KEPT`, or why not."""
        try:
            inbox = self._expecting(header, peer, own)
            if not inbox.holds(header.round_index, peer.index, header.digest):
                link.sendall(SEND)
                sealed = read_exactly(link, header.length, within_s=seconds_for(header.length))
                if sha256(sealed).digest() != header.digest or messages.addresses(sealed) != (peer.index, own.index):
                    return b"s"
                inbox.keep(header.round_index, peer.index, sealed)
        except NotKept as refused:
            return refused.answer
        return KEPT

    def _expecting(self, header: Header, peer: Member, own: Member) -> Inbox:
        """Where an envelope belongs, if one like it is expected: by this site's own manifest, roster and policy.

        Raises:
            NotKept: It is not.
        """
        if (header.sender, header.receiver) != (peer.index, own.index):
            raise NotKept(b"a")
        try:
            with Site(self._folder, self._name) as site:
                manifest = site.manifest(header.run)
                check_roster(manifest, site.roster)
                if not site.policy.direct or manifest.sums.transport != "direct":
                    raise NotKept(b"d")
                if not header.round_index < manifest.rounds:
                    raise NotKept(b"o")
                config = sum_config(manifest, site.roster, header.round_index)
                if header.length != box_bytes(manifest.step(header.round_index).size, config):
                    raise NotKept(b"s")
                return Inbox(self._folder / "runs" / header.run)
        except SynthfedError as error:
            raise NotKept(b"u") from error

    def _enters(self, name: str, most: int) -> bool:
        """Count a call, unless there are as many of its kind as may be."""
        with self._counting:
            free = self._calls[name] < most
            self._calls[name] += free
        return free

    def _leaves(self, name: str) -> bool:
        with self._counting:
            self._calls[name] -= 1
        return True

    def _say_once(self, text: str) -> None:
        """Say a thing at most once a minute, so that a caller cannot fill a disk with it."""
        now = time.monotonic()
        with self._counting:
            if now - self._said.get(text, -_SAY_AGAIN_S) < _SAY_AGAIN_S:
                return
            if len(self._said) >= _MOST_SAID:
                self._said.clear()
            self._said[text] = now
        self._say(text)
