"""The in-process grid calls real ClientApps and behaves as Flower's does when they fail."""

import threading

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.app.message.message import make_message
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from synthfed.errors import BudgetRefused, DeadlineMissed, FederationError, SiteBroken, SiteRefused
from synthfed.federation import records, wire
from synthfed.federation.asking import Answers, Beside, Traffic, ask, ask_some
from synthfed.federation.local_grid import Drop, LocalGrid

NODES = {7: {"site": "lyon"}, 8: {"site": "oslo"}}


def echo_app() -> ClientApp:
    app = ClientApp()

    @app.query("hello")
    def hello(message, context):
        site = str(context.node_config["site"])
        if site == "broken":
            raise ValueError("age=47")
        if site == "refusing":
            return Message(records.to_record(wire.Refusal("busy")), reply_to=message)
        if site == "poor":
            return Message(records.to_record(wire.Refusal("budget")), reply_to=message)
        return Message(records.to_record(wire.HelloReply(site.encode())), reply_to=message)

    return app


def say_hello(grid: LocalGrid, deadline_s: float = 5.0, sites=("lyon", "oslo")) -> dict[str, wire.HelloReply]:
    nodes = {site: 7 + number for number, site in enumerate(sites)}
    request = wire.HelloRequest("m", 0, 0)
    with grid.as_server():
        return ask(
            grid,
            "query.hello",
            dict.fromkeys(sites, request),
            wire.HelloReply,
            nodes=nodes,
            deadline_s=deadline_s,
            traffic=Traffic(),
            poll_s=0.01,
        )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("serialise", [False, True])
def test_each_site_is_asked_and_answers(workers, serialise):
    replies = say_hello(LocalGrid(echo_app(), NODES, workers=workers, serialise=serialise))
    assert {site: reply.hello for site, reply in replies.items()} == {"lyon": b"lyon", "oslo": b"oslo"}


def test_serialised_messages_keep_their_arrays():
    seen: list[bytes] = []
    grid = LocalGrid(echo_app(), NODES, serialise=True, on_message=lambda _, raw: seen.append(raw))
    say_hello(grid)
    assert len(seen) == 4
    assert all(raw for raw in seen)
    blob = np.arange(300, dtype=np.uint8)
    with grid.as_server():
        record = RecordDict({"a": ArrayRecord({"x": Array(blob)}), "c": ConfigRecord({"k": 1})})
        copy = grid._cross(Message(record, 7, "query.hello"))
    np.testing.assert_array_equal(copy.content["a"]["x"].numpy(), blob)


def test_the_task_identity_is_put_back():
    before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)
    say_hello(LocalGrid(echo_app(), NODES))
    assert (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id) == before


def test_an_app_that_raises_is_named_and_not_asked_again():
    grid = LocalGrid(echo_app(), {7: {"site": "lyon"}, 8: {"site": "broken"}})
    with pytest.raises(SiteBroken, match="'oslo' failed at hello"):
        say_hello(grid)


def test_an_unknown_action_breaks_as_in_flower():
    grid = LocalGrid(ClientApp(), NODES)
    with pytest.raises(SiteBroken, match="code 2"):
        say_hello(grid)


@pytest.mark.parametrize(("site", "error"), [("refusing", SiteRefused), ("poor", BudgetRefused)])
def test_a_refusal_is_raised_with_the_words_of_the_table(site, error):
    with pytest.raises(error, match="site 'oslo' refused hello"):
        say_hello(LocalGrid(echo_app(), {7: {"site": "lyon"}, 8: {"site": site}}))


@pytest.mark.parametrize("direction", ["request", "reply"])
def test_a_lost_message_ends_at_the_deadline_and_names_the_site(direction):
    def lose(message: Message) -> None:
        is_reply = bool(message.metadata.reply_to_message_id)
        node = message.metadata.src_node_id if is_reply else message.metadata.dst_node_id
        if node == 8 and is_reply == (direction == "reply"):
            raise Drop

    with pytest.raises(DeadlineMissed, match="oslo"):
        say_hello(LocalGrid(echo_app(), NODES, faults=lose), deadline_s=0.05)


def test_an_interruption_reaches_the_caller():
    def interrupt(message: Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        say_hello(LocalGrid(echo_app(), NODES, faults=interrupt))


def test_one_site_handles_one_message_at_a_time():
    busy = threading.Lock()
    app = ClientApp()

    @app.query("hello")
    def hello(message, context):
        assert busy.acquire(blocking=False)
        try:
            threading.Event().wait(0.01)
        finally:
            busy.release()
        return Message(records.to_record(wire.HelloReply(b"x")), reply_to=message)

    grid = LocalGrid(app, {7: {"site": "lyon"}}, workers=3)
    with grid.as_server():
        messages = [Message(records.to_record(wire.HelloRequest("m", i, 0)), 7, "query.hello") for i in range(4)]
        replies = list(grid.send_and_receive(messages))
    assert len(replies) == 4
    assert not any(reply.has_error() for reply in replies)


class FlakyGrid(LocalGrid):
    """Loses the first reply of node 8 as a SuperLink reports it, and lists the node again a little later."""

    def __init__(self, code: int, failures: int = 1) -> None:
        self.seen: list[bytes] = []
        super().__init__(echo_app(), NODES, on_message=lambda message, _: self.keep(message))
        self.code, self.failures, self.polls = code, failures, 0

    def keep(self, message: Message) -> None:
        if message.metadata.dst_node_id == 8:
            self.seen.append(records.fingerprint(records.from_record(message.content, wire.HelloRequest)))

    def get_node_ids(self):
        self.polls += 1
        return [7] if self.polls < 3 else [7, 8]

    def pull_messages(self, message_ids):
        replies = []
        for reply in super().pull_messages(message_ids):
            if reply.metadata.src_node_id == 8 and self.failures:
                self.failures -= 1
                reply = make_message(metadata=reply.metadata, error=Error(self.code, "node unavailable"))
            replies.append(reply)
        return replies


@pytest.mark.parametrize("code", [3, 4, 5, 8])
def test_what_broke_on_the_way_is_sent_again_with_the_same_bytes(code):
    grid = FlakyGrid(code)
    assert set(say_hello(grid)) == {"lyon", "oslo"}
    assert len(grid.seen) == 2
    assert len(set(grid.seen)) == 1


def test_what_broke_twice_ends_the_trip():
    with pytest.raises(SiteBroken, match="code 5"):
        say_hello(FlakyGrid(5, failures=2))


@pytest.mark.parametrize("code", [0, 1, 2, 6, 7])
def test_what_sending_again_cannot_mend_ends_the_trip_at_once(code):
    grid = FlakyGrid(code)
    with pytest.raises(SiteBroken):
        say_hello(grid)
    assert len(grid.seen) == 1


FOUR = {7: {"site": "lyon"}, 8: {"site": "oslo"}, 9: {"site": "refusing"}, 10: {"site": "broken"}}


def ask_four(grid: LocalGrid, needed: int, beside: Beside | None = None) -> Answers[wire.HelloReply]:
    nodes = {str(config["site"]): node for node, config in FOUR.items()}
    asked = [site for site in nodes if beside is None or site not in beside.requests]
    with grid.as_server():
        return ask_some(
            grid,
            "query.hello",
            dict.fromkeys(asked, wire.HelloRequest("m", 0, 0)),
            wire.HelloReply,
            needed=needed,
            nodes=nodes,
            deadline_s=0.05,
            traffic=Traffic(),
            poll_s=0.01,
            beside=beside,
        )


def test_a_trip_can_spare_some_sites_and_says_why_they_are_lost():
    answers = ask_four(LocalGrid(echo_app(), FOUR), needed=2)
    assert list(answers.replies) == ["lyon", "oslo"]
    assert {site: type(error) for site, error in answers.lost.items()} == {
        "refusing": SiteRefused,
        "broken": SiteBroken,
    }
    with pytest.raises(FederationError, match="resume"):
        ask_four(LocalGrid(echo_app(), FOUR), needed=3)


def test_what_goes_out_beside_a_trip_cannot_end_it():
    def lose(message: Message) -> None:
        if message.metadata.dst_node_id == 8:
            raise Drop

    request = wire.HelloRequest("m", 1, 0)
    for site, fault in (("oslo", lose), ("refusing", None), ("broken", None)):
        others = {node: config for node, config in FOUR.items() if config["site"] in ("lyon", site)}
        with LocalGrid(echo_app(), others, faults=fault).as_server() as grid:
            answers = ask_some(
                grid,
                "query.hello",
                {"lyon": request},
                wire.HelloReply,
                needed=1,
                nodes={str(config["site"]): node for node, config in others.items()},
                deadline_s=0.05,
                traffic=Traffic(),
                poll_s=0.01,
                beside=Beside("query.hello", {site: request}, wire.HelloReply, 0.01),
            )
        assert set(answers.replies) == {"lyon"}
        assert not answers.beside
    answers = ask_four(LocalGrid(echo_app(), FOUR), 1, Beside("query.hello", {"oslo": request}, wire.HelloReply, 0.01))
    assert set(answers.beside) == {"oslo"}
