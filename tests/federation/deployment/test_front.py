"""The door that hospitals reach passes the Fleet API on, and nothing else however it is spelt."""

import asyncio

import httpx
import pytest

from synthfed.federation.deployment.front import is_fleet, make_front, nginx_lines


def through_front(method: str, path: str, content: bytes = b"") -> tuple[httpx.Response, list[httpx.Request]]:
    seen: list[httpx.Request] = []

    def superlink(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"from the SuperLink: " + request.content, headers={"x-kept": "yes"})

    async def ask() -> httpx.Response:
        app = make_front(httpx.MockTransport(superlink), url="https://localhost:8000")
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://fl.example.org") as client:
            return await client.request(method, path, content=content, headers={"x-flwr": "signed"})

    return asyncio.run(ask()), seen


def test_the_fleet_api_passes_both_ways_with_body_and_headers():
    answer, seen = through_front("POST", "/v1/fleet/pull-messages", b"bytes")
    assert (answer.status_code, answer.content) == (200, b"from the SuperLink: bytes")
    assert answer.headers["x-kept"] == "yes"
    assert seen[0].headers["x-flwr"] == "signed"
    assert seen[0].url.path == "/v1/fleet/pull-messages"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/fleet/pull-messages"),
        ("POST", "/v1/control/start-run"),
        ("POST", "/v1/runtime/acquire-task"),
        ("POST", "/docs"),
        ("POST", "/v1/fleet/%2e%2e/control/start-run"),
        ("POST", "/v1/fleet/pull-messages/../../control/start-run"),
        ("POST", "/v1/fleet//control"),
        ("POST", "/v1/fleet/pull-messages?x=1"),
        ("POST", "//v1/fleet/pull-messages"),
    ],
)
def test_everything_else_is_refused_before_the_superlink(method, path):
    answer, seen = through_front(method, path)
    assert answer.status_code == 403
    assert seen == []


def test_a_path_is_judged_as_it_was_sent():
    assert is_fleet("POST", b"/v1/fleet/get-fab", b"")
    assert not is_fleet("POST", b"/v1/fleet/get-fab\n", b"")
    assert not is_fleet("POST", b"/v1/fleet/%67et-fab", b"")


def test_too_large_a_request_is_not_passed_on(monkeypatch):
    monkeypatch.setattr("synthfed.federation.deployment.front._LARGEST", 3)
    answer, seen = through_front("POST", "/v1/fleet/push-object", b"four")
    assert answer.status_code == 413
    assert seen == []


def test_the_nginx_lines_serve_the_same_prefix_and_refuse_the_rest(tmp_path):
    lines = nginx_lines(port=443, superlink_port=8000, tls=tmp_path)
    assert "location /v1/fleet/" in lines
    assert "location / { return 403; }" in lines
    assert "proxy_ssl_verify on" in lines
