"""The one door that hospitals reach: TLS, and of Flower's interfaces the Fleet API alone.

A SuperLink serves three interfaces on one port. Its Control API asks for no credentials: whoever reaches it runs code
at every site. Its Runtime API hands out work to whoever asks first. So the SuperLink listens on loopback, and this
front passes on `POST /v1/fleet/...` and refuses everything else. It keeps nothing and reads no message; nginx with the
lines that `nginx_lines` writes does the same.

Run as a program by `synthfed coordinator up`.
"""

import argparse
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

_FLEET = re.compile(rb"/v1/fleet/[a-z-]+")  # one plain word: no dots, escapes or second slash
_LARGEST = 64 * 1024 * 1024  # bytes of one request; Flower sends pieces of 5 MB
_ONE_HOP = frozenset(
    ("connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)


def is_fleet(method: str, raw_path: bytes, query: bytes) -> bool:
    """Whether a request may pass: a POST to one of the Fleet API's own names, as sent, before any decoding."""
    return method == "POST" and _FLEET.fullmatch(raw_path) is not None and not query


def make_front(superlink: httpx.AsyncBaseTransport | None, *, url: str) -> ASGIApp:
    """Make the front.

    Args:
        superlink: How the SuperLink is reached; None connects to `url`.
        url: Where it is, such as https://localhost:8000.
    """
    client = httpx.AsyncClient(base_url=url, transport=superlink, timeout=httpx.Timeout(150.0, connect=10.0))

    async def serve(request: Request) -> Response:
        raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
        if not is_fleet(request.method, raw_path, request.scope.get("query_string", b"")):
            return PlainTextResponse("only the Fleet API is served here\n", status_code=403)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST:
                return PlainTextResponse("too large\n", status_code=413)
        headers = [(name, value) for name, value in request.headers.items() if name not in _ONE_HOP]
        try:
            answer = await client.post(raw_path.decode("ascii"), content=bytes(body), headers=headers)
        except httpx.HTTPError:
            return PlainTextResponse("the SuperLink does not answer\n", status_code=502)
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name not in _ONE_HOP and name not in ("content-encoding", "date", "server")
        }
        return Response(answer.content, status_code=answer.status_code, headers=kept)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app = Starlette(lifespan=lifespan)
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    app.add_route("/{path:path}", serve, methods=methods)
    return app


def nginx_lines(*, port: int, superlink_port: int, tls: Path) -> str:
    """The same front as a server block of nginx."""
    return f"""# Only Flower's Fleet API faces hospitals: the SuperLink's other interfaces ask for no credentials.
server {{
  listen {port} ssl;
  ssl_certificate {tls / "server.crt"};
  ssl_certificate_key {tls / "server.key"};
  client_max_body_size 64m;
  location /v1/fleet/ {{
    proxy_pass https://127.0.0.1:{superlink_port};
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_read_timeout 150s;
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate {tls / "ca.crt"};
    proxy_ssl_name localhost;
  }}
  location / {{ return 403; }}
}}
"""


def main() -> None:
    """Serve until the process is told to end."""
    import ssl

    parser = argparse.ArgumentParser(description="Pass Flower's Fleet API to a SuperLink on loopback, nothing else.")
    for name in ("host", "certificate", "key", "authority"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--superlink-port", type=int, required=True)
    chosen = parser.parse_args()
    to_superlink = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=chosen.authority))
    uvicorn.run(
        make_front(to_superlink, url=f"https://localhost:{chosen.superlink_port}"),
        host=chosen.host,
        port=chosen.port,
        ssl_certfile=chosen.certificate,
        ssl_keyfile=chosen.key,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
