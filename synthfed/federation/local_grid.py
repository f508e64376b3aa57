"""A Flower `Grid` inside this process: it hands every message to a real `ClientApp` and keeps the reply.

The apps are the deployed ones; only the carrier differs. It is the one file that touches Flower's private names
(`TaskIdentity`, the inflatable objects), so a new Flower version breaks here or nowhere. With `serialise=True` each
message is written to bytes and read back on both ways, as the network would; `on_message` then sees what a curious
relay sees. Faults are injected by a function that may raise, wait or `Drop`.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from synthfed.errors import FederationError

try:
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, no_object_id_recompute
    from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
except ImportError as error:  # pragma: no cover - another Flower
    from importlib.metadata import version

    raise FederationError(
        f"flwr {version('flwr')} has other inner names than 1.41, for which the in-process grid is written; "
        "install the pinned version (constraints.txt)"
    ) from error

NodeConfig = Mapping[str, bool | int | float | str]

_SERVER_NODE = 1  # Flower's SUPERLINK_NODE_ID
_APP_RAISED = 2  # Flower's ErrorCode.CLIENT_APP_RAISED_EXCEPTION


class Drop(Exception):
    """Raised by a fault function to lose a request or a reply without a trace."""


class LocalGrid(Grid):
    """Carries messages to `app` for the nodes given, in this thread or in `workers` threads.

    Args:
        app: The ClientApp of every site; `node_config` tells it which site it is.
        nodes: Node id to node config, as a SuperNode would pass it.
        run_config: What `flwr run --run-config` would pass.
        workers: 1 calls the app inside `push_messages`, so an interruption reaches the caller at once.
        serialise: Write and read every message as Flower's network objects.
        faults: Called with each request before the app and with each reply after it. `Drop` loses the message,
            another exception becomes Flower's error code 2, a `BaseException` such as KeyboardInterrupt ends the run.
        on_message: Called with each message that crosses, and its bytes when `serialise` is set.
    """

    def __init__(
        self,
        app: ClientApp,
        nodes: Mapping[int, NodeConfig],
        *,
        run_config: NodeConfig | None = None,
        workers: int = 1,
        serialise: bool = False,
        faults: Callable[[Message], None] | None = None,
        on_message: Callable[[Message, bytes], None] | None = None,
    ) -> None:
        self._app = app
        self._run = Run.create_empty(run_id=1)
        self._serialise = serialise
        self._faults = faults
        self._on_message = on_message
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="site") if workers > 1 else None
        self._replies: dict[str, Message | Future[Message | None] | None] = {}
        self._locks = {node: threading.Lock() for node in nodes}
        self._sent = 0
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config=dict(config),
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for node, config in nodes.items()
        }

    @contextmanager
    def as_server(self) -> Iterator["LocalGrid"]:
        """Let `Message(...)` be made here as a ServerApp makes it; Flower's identity is put back afterwards."""
        kept: dict[str, Any] = {name: getattr(TaskIdentity, name) for name in ("_task_id", "_run_id", "_node_id")}
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, self._run.run_id, _SERVER_NODE
        try:
            yield self
        finally:
            for name, value in kept.items():
                setattr(TaskIdentity, name, value)
            if self._pool is not None:
                self._pool.shutdown(wait=True)

    def set_run(self, run: Run) -> None:
        """Set the run of this grid."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run of this grid."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message; the ServerApp of synthfed uses `Message` itself."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes; in this process they are always online."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Start each message's handler; ids come back in order."""
        ids = []
        for message in messages:
            self._sent += 1
            ident = hashlib.sha256(f"{id(self)}:{self._sent}".encode()).hexdigest()
            message.metadata.__dict__["_message_id"] = ident
            if self._pool is None:
                self._replies[ident] = self._carry(message)
            else:
                self._replies[ident] = self._pool.submit(self._carry, message)
            ids.append(ident)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are ready, each once."""
        ready: list[Message] = []
        for ident in list(message_ids):
            found = self._replies.get(ident)
            if isinstance(found, Future):
                if not found.done():
                    continue
                found = found.result()
            self._replies[ident] = None
            if found is not None:
                ready.append(found)
        return ready

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, then pull until all answered or `timeout` seconds passed."""
        open_ids = set(self.push_messages(list(messages)))
        end = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while open_ids and (end is None or time.monotonic() < end):
            new = list(self.pull_messages(open_ids))
            replies += new
            open_ids -= {reply.metadata.reply_to_message_id for reply in new}
            if open_ids:
                time.sleep(0.01)
        return replies

    def _carry(self, message: Message) -> Message | None:
        try:
            delivered = self._cross(message)
        except Drop:
            return None
        except Exception as error:
            return self._failed(message, error)
        node = message.metadata.dst_node_id
        try:
            with self._locks[node]:
                reply = self._app(delivered, self._contexts[node])
        except Exception as error:
            reply = self._failed(message, error)
        try:
            return self._cross(reply)
        except Drop:
            return None
        except Exception as error:
            return self._failed(message, error)

    def _cross(self, message: Message) -> Message:
        """One way over the wire: fault, bytes, witness."""
        if self._faults is not None:
            self._faults(message)
        raw = b""
        if self._serialise:
            message, raw = _through_bytes(message)
        if self._on_message is not None:
            self._on_message(message, raw)
        return message

    def _failed(self, message: Message, error: Exception) -> Message:
        # Flower sends the exception's text verbatim; a handler of ours must never get here.
        return Message(Error(_APP_RAISED, f"{type(error)!r}:<{error!r}>"), reply_to=message)


def in_simulation(grid: Grid) -> bool:
    """Whether a ServerApp was given the grid of Flower's simulation engine."""
    from flwr.superlink.grid import InMemoryGrid

    return isinstance(grid, InMemoryGrid)


def _through_bytes(message: Message) -> tuple[Message, bytes]:
    ident = message.metadata.message_id
    with no_object_id_recompute():
        top = message.object_id
        contents = {key: nested.deflate() for key, nested in get_all_nested_objects(message).items()}
        raw = b"".join(contents.values())
        copy = inflate_object_from_contents(top, contents)
    assert isinstance(copy, Message)
    copy.metadata.__dict__["_message_id"] = ident  # ids are the carrier's, not part of the object
    return copy, raw
