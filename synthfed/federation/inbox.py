"""Sealed parts that peers handed over directly, on a site's disk until the round's sum is verified.

`runs/<manifest hash>/inbox/` holds one file per round and dealer, as it came, and `over`, the newest round that is
over. Parts are sealed for this site in a box that only it and the dealer can make; the files tell sizes and who dealt.
A peer can fill no more than two rounds' worth of its own parts.
"""

import hashlib
import threading
from pathlib import Path

from synthfed.federation.durable import make_private_folder, write_durably

_AHEAD = 2  # a site deals round r when its peers may still be verifying round r - 1, so r - 2 is the last one over
_KEEPING = threading.Lock()


class NotKept(Exception):
    """An envelope is not taken; `answer` is the letter that says why (`peer_link.NOT_TAKEN`)."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer.decode())
        self.answer = answer


class Inbox:
    """The inbox of one run at one site."""

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder / "inbox"

    def holds(self, round_index: int, dealer: int, digest: bytes) -> bool:
        """Whether this very envelope is here.

        Raises:
            NotKept: The round is over or too far ahead, or another envelope of it is here.
        """
        over = self._over()
        if not over < round_index <= over + _AHEAD:
            raise NotKept(b"o")
        kept = self.find(round_index, dealer)
        if kept is None:
            return False
        if hashlib.sha256(kept).digest() != digest:
            raise NotKept(b"k")
        return True

    def keep(self, round_index: int, dealer: int, sealed: bytes) -> None:
        """Write an envelope durably; the first one of a round and dealer stays.

        Raises:
            NotKept: See `holds`.
        """
        with _KEEPING:
            if not self.holds(round_index, dealer, hashlib.sha256(sealed).digest()):
                make_private_folder(self.folder)
                write_durably(self._path(round_index, dealer), sealed)

    def find(self, round_index: int, dealer: int) -> bytes | None:
        """What a dealer handed over in a round, if it did."""
        try:
            return self._path(round_index, dealer).read_bytes()
        except FileNotFoundError:
            return None

    def drop(self, round_index: int) -> None:
        """Delete the parts of a verified round and all before it, and take no more of them."""
        make_private_folder(self.folder)
        write_durably(self.folder / "over", str(round_index).encode())
        for path in self.folder.glob("*.part"):
            if int(path.name.split(".")[0]) <= round_index:
                path.unlink(missing_ok=True)

    def _over(self) -> int:
        try:
            return int((self.folder / "over").read_bytes())
        except FileNotFoundError:
            return -1

    def _path(self, round_index: int, dealer: int) -> Path:
        return self.folder / f"{round_index:05d}.{dealer:05d}.part"
