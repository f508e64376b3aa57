"""Keys and certificates of the connection: a real TLS handshake accepts the right name and authority, no other."""

import socket
import ssl
import threading

import pytest

from synthfed.federation.deployment.certificates import (
    KeyPair,
    is_certificate,
    is_node_key,
    issue_server,
    make_authority,
    make_node_key,
)


@pytest.fixture(scope="module")
def authority() -> KeyPair:
    return make_authority("fl.example.org")


def handshake(tmp_path, server: KeyPair, trusted: KeyPair, name: str) -> str:
    (tmp_path / "server.pem").write_bytes(server.private + server.public)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "server.pem")
    asking = ssl.create_default_context(cadata=trusted.public.decode())
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            serving.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError):
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(here, server_hostname=name) as line:
            return str(line.version())
    finally:
        thread.join()


@pytest.mark.parametrize("name", ["fl.example.org", "localhost", "127.0.0.1"])
def test_a_site_that_trusts_the_authority_accepts_the_server(tmp_path, authority, name):
    assert handshake(tmp_path, issue_server(authority, "fl.example.org"), authority, name) == "TLSv1.3"


def test_another_name_and_another_authority_are_refused(tmp_path, authority):
    server = issue_server(authority, "fl.example.org")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, server, authority, "other.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, server, make_authority("fl.example.org"), "fl.example.org")


def test_node_keys_are_what_flower_reads():
    from flwr.supernode.cli.flower_supernode import load_ssh_private_key

    key = make_node_key()
    assert load_ssh_private_key(key.private, password=None).key_size == 384
    assert is_node_key(key.public.decode())
    assert not is_node_key("ssh-rsa AAAA")
    assert not is_node_key("")
    assert not is_certificate("no certificate")
