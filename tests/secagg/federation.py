"""A whole federation in a test: a roster, N sites and a relay, with every byte that passed the relay written down."""

import datetime
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.secagg import messages
from synthfed.secagg.contexts import Context0, SumConfig, layout_digest
from synthfed.secagg.protocol import (
    Delivery,
    PartsRelaySession,
    PartsSiteSession,
    RelaySession,
    SiteSession,
)
from synthfed.secagg.ring import Ring
from synthfed.secagg.roster import Member, Roster, sign_roster

FROM, UNTIL = datetime.date(2026, 1, 1), datetime.date(2026, 12, 31)
MODEL = hashlib.sha256(b"model").digest()


def stream(seed: str) -> Callable[[int], bytes]:
    """Fixed entropy: SHAKE-256 of a seed and a counter."""
    calls = 0

    def draw(length: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(f"{seed}/{calls}".encode()).digest(length)

    return draw


def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return key(name).public_key().public_bytes_raw()


def make_roster(sites: int, *, threshold: int | None = None, version: int = 1) -> Roster:
    members = [Member(7 * i + 3, f"site{i}", f"Hospital {i}", public(f"site{i}")) for i in range(sites)]
    return sign_roster(
        members,
        steward=key("steward"),
        relay_key=public("relay"),
        valid_from=FROM,
        valid_until=UNTIL,
        threshold=threshold,
        version=version,
    )


def make_config(roster: Roster, **changes: object) -> SumConfig:
    config = SumConfig(
        bounds=("1",),
        scales=(30,),
        threshold=roster.threshold,
        smallest=roster.smallest,
        pipeline_digest=hashlib.sha256(b"pipeline").digest(),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def make_context(roster: Roster, **changes: object) -> Context0:
    config = make_config(roster)
    context = Context0(
        run_id=hashlib.sha256(b"manifest").digest(),
        purpose="train",
        round_index=5,
        attempt=0,
        roster_digest=roster.digest(),
        config_digest=config.digest(),
        layout_digest=layout_digest([("weight", (3, 4)), ("bias", (4,))]),
    )
    return replace(context, **changes)  # type: ignore[arg-type]


def pair_keys(roster: Roster, own: int) -> dict[int, bytes]:
    """psk of one site with each other one, as `hybrid` would agree on them."""
    others = [member.index for member in roster.members if member.index != own]
    return {peer: hashlib.sha256(f"psk {min(own, peer)} {max(own, peer)}".encode()).digest() for peer in others}


@dataclass
class Attempt:
    """One attempt, run step by step; every step gives back what the sites sent."""

    vectors: Mapping[int, Ring]  # by position in the roster
    roster: Roster
    context: Context0
    config: SumConfig | None = None
    smallest: int | None = None
    model: bytes = MODEL
    fixed: str | None = None
    transcript: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        length = next(iter(self.vectors.values())).size
        extra = {"smallest": self.smallest, "config": self.config}
        parts = self.config is not None and self.config.deals_parts
        site_session, relay_session = (PartsSiteSession, PartsRelaySession) if parts else (SiteSession, RelaySession)
        self.members = self.roster.members
        self.sites: dict[int, SiteSession] = {}
        for position in self.vectors:
            member = self.members[position]
            entropy = {} if self.fixed is None else {"entropy": stream(f"{self.fixed}/{member.site}")}
            if self.config is not None and self.config.post_quantum:
                entropy["pair_keys"] = pair_keys(self.roster, member.index)
            self.sites[member.index] = site_session(
                self.roster, member.site, key(member.site), self.context, **extra, **entropy
            )
        self.inputs = {self.members[position].index: vector for position, vector in self.vectors.items()}
        self.relay = relay_session(self.roster, self.context, key("relay"), length=length, **extra)

    def saw(self, message: bytes) -> bytes:
        self.transcript.append(bytes(message))
        return message

    def hellos(self) -> tuple[bytes, ...]:
        for site in self.sites.values():
            self.relay.add_hello(self.saw(site.hello()))
        return self.relay.hellos()

    def deliveries(self) -> dict[int, Delivery]:
        hellos = self.hellos()
        for site in self.sites.values():
            reply = site.share(hellos)
            self.saw(reply.public)
            for box in reply.sealed.values():
                self.saw(box)
            self.relay.add_share(reply.public, reply.sealed)
        return self.relay.deliveries(self.model)

    def masked(self) -> dict[int, bytes]:
        return {
            index: self.saw(self.sites[index].mask(self.inputs[index], self.model, delivery.shares, delivery.sealed))
            for index, delivery in self.deliveries().items()
        }

    def heads(self) -> bytes:
        for message in self.masked().values():
            self.relay.add_masked(message)
        return self.saw(self.relay.heads())

    def unmasked(self) -> None:
        heads = self.heads()
        for site in self.sites.values():
            self.relay.add_unmask(self.saw(site.unmask(heads)))

    def result(self) -> tuple[bytes, Ring]:
        self.unmasked()
        message, total = self.relay.result()
        return self.saw(message), total

    def parts(self) -> dict[int, tuple[bytes, ...]]:
        """Modes with parts: everybody deals."""
        for index, delivery in self.deliveries().items():
            dealt = self.sites[index].deal(self.inputs[index], self.model, delivery.shares, delivery.sealed)
            for box in dealt.values():
                self.saw(box)
            self.relay.add_parts(index, dealt)
        return self.relay.part_deliveries()

    def opened(self) -> tuple[bytes, Ring]:
        """The result in any mode, all sites answering."""
        mode = "compressed" if self.config is None else self.config.mode
        if mode == "compressed":
            return self.result()
        if mode == "pairwise":
            messages_sent = self.masked().values()
        else:
            messages_sent = [self.saw(self.sites[i].add_up(boxes)) for i, boxes in self.parts().items()]
        for message in messages_sent:
            self.relay.add_masked(message)
        message, total = self.relay.result()
        return self.saw(message), total

    def finish(self) -> Ring:
        """The whole attempt; the sum, as every site accepted it."""
        message, total = self.opened()
        for site in self.sites.values():
            assert np.array_equal(site.verify(message), total)
            assert self.relay.add_close(self.saw(site.close())).accepted
        return total

    def with_drops(
        self, gone: Mapping[int, str], at: Callable[[str], None] = lambda step: None
    ) -> tuple[Ring, tuple[int, ...]]:
        """The whole attempt, while the sites `gone` (by roster index) vanish before the step named.

        Gives the sum and U2; what is left of the sites has accepted it. `at` is called when each step begins.
        """
        here = dict(self.sites)

        def lose(step: str) -> dict[int, SiteSession]:
            at(step)
            for index, when in gone.items():
                if when == step:
                    here.pop(index, None)
            return here

        for site in lose("hello").values():
            self.relay.add_hello(self.saw(site.hello()))
        hellos = self.relay.hellos()
        for site in lose("share").values():
            reply = site.share(hellos)
            self.relay.add_share(self.saw(reply.public), reply.sealed)
        deliveries = self.relay.deliveries(self.model)
        for index, site in lose("mask").items():
            shares, sealed = deliveries[index].shares, deliveries[index].sealed
            self.relay.add_masked(self.saw(site.mask(self.inputs[index], self.model, shares, sealed)))
        heads = self.saw(self.relay.heads())
        if self.relay.needs_survivors:
            for site in lose("survivors").values():
                self.relay.add_survivors(self.saw(site.sign_survivors(heads)))
            survivors = self.relay.survivors()
            for site in lose("unmask").values():
                self.relay.add_unmask(self.saw(site.release(survivors)))
        else:
            for site in lose("unmask").values():
                self.relay.add_unmask(self.saw(site.unmask(heads)))
        message, total = self.relay.result()
        for site in lose("result").values():
            assert np.array_equal(site.verify(message), total)
            assert self.relay.add_close(self.saw(site.close())).accepted
        return total, messages.Result.unpack(messages.body_of(message), self.roster, length=total.size).members


STEPS = ("hello", "share", "mask", "survivors", "unmask", "result")


def attempt(
    sites: int = 4, length: int = 16, *, seed: int = 0, threshold: int | None = None, **options: object
) -> Attempt:
    """N sites with small random inputs, unless `vectors` are given; `config` changes the configuration's defaults."""
    rng = np.random.default_rng(seed)
    vectors = options.pop("vectors", None) or {
        i: rng.integers(-(2**24), 2**24, length).astype(np.int32).view(np.uint32) for i in range(sites)
    }
    roster = make_roster(sites, threshold=threshold)
    changes = dict(options.pop("changes", {}))  # type: ignore[call-overload]
    if settings := options.pop("config", None):
        options["config"] = make_config(roster, **settings)  # type: ignore[arg-type]
        changes["config_digest"] = options["config"].digest()  # type: ignore[attr-defined]
    return Attempt(vectors, roster, make_context(roster, **changes), **options)  # type: ignore[arg-type]
