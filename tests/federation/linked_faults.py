"""What may sit at a peer's address instead of the peer: it breaks links in one chosen way."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synthfed.federation.peer_link import HEADER_BYTES, KEPT, SEND, WELCOME
from synthfed.federation.peer_tls import listening_context

Behaviour = Callable[[ssl.SSLSocket], None]


def nonsense(link: ssl.SSLSocket) -> None:
    link.sendall(WELCOME)
    link.recv(HEADER_BYTES)
    link.sendall(b"\x00")


def nonsense_at_once(link: ssl.SSLSocket) -> None:
    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def cut_in_mid_message(link: ssl.SSLSocket) -> None:
    link.sendall(WELCOME)
    link.recv(HEADER_BYTES)
    link.sendall(SEND)
    link.recv(10)


def cut_before_the_answer(link: ssl.SSLSocket) -> None:
    link.sendall(WELCOME)
    link.recv(HEADER_BYTES)


def declines(link: ssl.SSLSocket) -> None:
    link.sendall(WELCOME)
    link.recv(HEADER_BYTES)
    link.sendall(b"o")


def says_kept_later(release: threading.Event) -> Behaviour:
    """Reads nothing until it is released."""

    def never_reads(link: ssl.SSLSocket) -> None:
        link.sendall(WELCOME)
        link.recv(HEADER_BYTES)
        link.sendall(SEND)
        release.wait(20.0)
        with suppress(OSError):
            link.sendall(KEPT)

    return never_reads


@contextmanager
def standing_in(port: int, identity: Path, behaviour: Behaviour, *, listed: list[bytes]) -> Iterator[list[bytes]]:
    """A TLS server with a link key; yields what callers said on top of TLS before it behaved."""
    context = listening_context(identity, listed)
    said: list[bytes] = []

    def answer(plain: socket.socket) -> None:
        plain.settimeout(20.0)
        with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as link:
            said.append(b"handshake")
            behaviour(link)

    with _accepting(port, answer):
        yield said


@contextmanager
def deaf(port: int) -> Iterator[None]:
    """Takes connections and says nothing."""
    held: list[socket.socket] = []
    with _accepting(port, held.append):
        yield
    for plain in held:
        plain.close()


@contextmanager
def _accepting(port: int, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", port))

    def accept() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=answer, args=(plain,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()
