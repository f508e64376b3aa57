"""Flaws of Flower's SecAgg+, run in Flower's own code, each beside what our sites do: attacks 4, 5, 7 to 10."""

import inspect
import logging
import sqlite3
import warnings

import numpy as np
import pytest

from synthfed.secagg import messages
from synthfed.secagg.messages import Kind, body_of
from synthfed.secagg.protocol import SiteSession
from synthfed.secagg.ring import decode_sum, encode
from synthfed.secagg.sealed import seal
from tests.secagg.federation import MODEL, attempt

mod = pytest.importorskip("flwr.client.mod.secure_aggregation.secaggplus_mod")

SETTINGS = {
    mod.Key.SAMPLE_NUMBER: 3,
    mod.Key.SHARE_NUMBER: 3,
    mod.Key.THRESHOLD: 2,
    mod.Key.CLIPPING_RANGE: 8.0,
    mod.Key.TARGET_RANGE: 1 << 22,
    mod.Key.MOD_RANGE: 1 << 32,
    mod.Key.MAX_WEIGHT: 1000.0,
}


def clients(nodes=(1, 2, 3)):
    """Flower's clients after setup, and the keys that the server shows them."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    states = {}
    for node in nodes:
        states[node] = mod.SecAggPlusState()
        states[node].nid = node
        mod._setup(states[node], SETTINGS)
    return states, {str(node): (state.pk1, state.pk2) for node, state in states.items()}


def forwarded(sent, node):
    """What the server forwards to one client: the sealed shares of the others."""
    others = [source for source in sent if source != node]
    at = {source: sent[source][mod.Key.DESTINATION_LIST].index(node) for source in others}
    return {
        mod.Key.SOURCE_LIST: others,
        mod.Key.CIPHERTEXT_LIST: [sent[source][mod.Key.CIPHERTEXT_LIST][at[source]] for source in others],
    }


# --- 4: a drop --------------------------------------------------------------------------------------------------------


def test_a_flower_client_breaks_on_a_drop_while_keys_are_shared():
    """The server lists node 3, which showed keys and dealt no shares, as dead: the others look up shares of it."""
    states, keys = clients()
    sent = {node: mod._share_keys(states[node], keys) for node in (1, 2)}
    parameters = _parameters([np.zeros(4, dtype=np.float32)])
    mod._collect_masked_vectors(states[1], forwarded(sent, 1), 10, parameters)
    with pytest.raises(KeyError):
        mod._unmask(states[1], {mod.Key.ACTIVE_NODE_ID_LIST: [1, 2], mod.Key.DEAD_NODE_ID_LIST: [3]})


def test_ours_goes_on_after_the_same_drop():
    total, counted = attempt(4, smallest=3).with_drops({10: "share"})
    assert counted == (3, 17, 24)
    assert total.size == 16


def _parameters(arrays):
    from flwr.common import ndarrays_to_parameters

    return ndarrays_to_parameters(arrays)


# --- 5: short seeds ---------------------------------------------------------------------------------------------------


def test_a_flower_mask_is_found_by_trying_seeds():
    """32 secret bytes are folded to 32 bits before they seed a Mersenne twister. The window here has 2**12 seeds, the
    whole space 2**32: minutes of one machine."""
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    secret = bytes(28) + (0x51EED001).to_bytes(4, "little")
    weights = np.arange(40, dtype=np.int64)  # known to be small, as quantised weights are
    seen = (weights + pseudo_rand_gen(secret, 1 << 32, [(40,)])[0]) % (1 << 32)
    found = []
    for seed in range(0x51EED001 - 2000, 0x51EED001 + 2000):
        mask = np.random.RandomState(seed).randint(0, (1 << 32) - 1, 40, dtype=np.int64)
        opened = (seen - mask) % (1 << 32)
        if opened.max() < 1 << 23:
            found.append(opened)
    assert len(found) == 1
    assert np.array_equal(found[0], weights)


def test_two_of_flowers_keys_can_have_one_mask_and_ours_cannot():
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    from synthfed.secagg.masks import apply_keystream

    one, two = bytes(32), bytes([1, 0, 0, 0] * 8)  # the same after folding
    assert np.array_equal(*(pseudo_rand_gen(key, 1 << 32, [(8,)])[0] for key in (one, two)))
    streams = [np.zeros(8, dtype=np.uint32) for _ in range(2)]
    for stream, key in zip(streams, (one, two), strict=True):
        apply_keystream(stream, key, sign=1)
    assert not np.any(streams[0] == streams[1])


# --- 7: keys that nobody signed ---------------------------------------------------------------------------------------


def test_a_flower_client_seals_its_shares_to_a_server_that_swapped_a_key():
    """Ours refuses the same swap: `test_a_swapped_key_is_refused`."""
    states, keys = clients()
    private, public = mod.generate_key_pairs()
    keys["2"] = (keys["2"][0], mod.public_key_to_bytes(public))
    sent = mod._share_keys(states[1], keys)
    ciphertext = sent[mod.Key.CIPHERTEXT_LIST][sent[mod.Key.DESTINATION_LIST].index(2)]
    plaintext = mod.decrypt(mod.generate_shared_key(private, mod.bytes_to_public_key(states[1].pk2)), ciphertext)
    source, destination, *shares = mod.share_keys_plaintext_separate(plaintext)
    assert (source, destination) == (1, 2)
    assert len(shares) == 2


# --- 8 and 10: what lies beside the masked vector ---------------------------------------------------------------------


def trained_in_flower(monkeypatch):
    """One client's answer with its masked vector, through Flower's own mod; and its context afterwards."""
    from flwr.common import Code, ConfigRecord, Context, FitRes, Message, RecordDict, Status
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1, raising=False)
    states, keys = clients()
    sent = {node: mod._share_keys(states[node], keys) for node in states}
    state = states[1]
    state.current_stage = mod.Stage.SHARE_KEYS
    secrets = [state.rd_seed, state.sk1, state.sk2]
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    context.state.config_records[mod.RECORD_KEY_STATE] = ConfigRecord(state.to_dict())
    request = ConfigRecord({**forwarded(sent, 1), mod.Key.STAGE: mod.Stage.COLLECT_MASKED_VECTORS})
    message = Message(
        RecordDict({mod.RECORD_KEY_CONFIGS: request}), dst_node_id=1, message_type=mod.MessageType.TRAIN, group_id="1"
    )
    fit = FitRes(Status(Code.OK, ""), _parameters([np.zeros(4, dtype=np.float32)]), 10, {"auc": 0.51})

    def train(msg, ctxt):
        return Message(mod.compat.fitres_to_recorddict(fit, keep_input=True), reply_to=msg)

    return mod.secaggplus_mod(message, context, train), context, secrets


def test_a_flower_client_sends_its_row_count_and_metrics_beside_the_masked_vector(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reply, _, _ = trained_in_flower(monkeypatch)
    told = {key: value for record in reply.content.metric_records.values() for key, value in record.items()}
    told |= {key: value for record in reply.content.config_records.values() for key, value in record.items()}
    assert 10 in told.values()
    assert 0.51 in told.values()


def test_ours_has_no_place_for_a_row_count_or_a_metric():
    """A MASKED is vector, tag and hash, to the byte; no step takes anything else about a site's rows; and what the
    federation puts around it has no other field."""
    from dataclasses import fields

    from synthfed.federation import wire

    run = attempt(3)
    for raw in run.masked().values():
        masked = messages.Masked.unpack(body_of(raw), length=16)
        assert len(raw) == 40 + 4 * 16 + 20 + 32 + 64
        assert masked.pack() == body_of(raw)
    assert set(inspect.signature(SiteSession.mask).parameters) == {
        "self",
        "vector",
        "model_digest",
        "shares",
        "sealed",
    }
    names = {field.name for field in fields(wire.RoundReply)}
    # closed boxes or uniform words, keys, who gets a box, and the proof that a dealer lied
    assert names <= {"masked", "hello", "parts_to", "parts", "complaint"}


def test_a_flower_client_keeps_its_secrets_in_clear(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, context, secrets = trained_in_flower(monkeypatch)
    stored = list(context.state.config_records[mod.RECORD_KEY_STATE].values())
    assert all(secret in stored for secret in secrets)


def test_ours_are_sealed_before_they_touch_a_disk(tmp_path):
    """No secret of an attempt, as bytes or as text, is in the database file after every stage."""
    run = attempt(3)
    path = tmp_path / "state.sqlite"
    database = sqlite3.connect(path)
    database.execute("create table state (row text primary key, value blob)")
    site = run.sites[3]

    def store():
        sealed = seal(bytes(range(32)), site.freeze(), row=b"site0")
        database.execute("insert or replace into state values ('site0', ?)", (sealed,))
        database.commit()

    store()
    deliveries = run.deliveries()
    store()
    site.mask(run.inputs[3], MODEL, deliveries[3].shares, deliveries[3].sealed)
    store()
    state = site._state
    secrets = [
        state.seal_secret,
        state.mask_seed,
        state.self_seed,
        state.tag_part,
        state.tag_key,
        run.inputs[3].tobytes(),
    ]
    secrets += state.held.values()
    database.close()
    on_disk = path.read_bytes()
    for secret in secrets:
        assert secret[:16] not in on_disk
        assert secret.hex().encode() not in on_disk


# --- 9: clipping and rounding -----------------------------------------------------------------------------------------


def test_flower_rounds_small_weights_coarsely_and_ours_does_not():
    """n = (8, 12, 15) of a largest weight of 1000: Flower's error is that of 2**22 levels of [-8, 8], divided by 0.035;
    its words have 8 bytes, ours 4."""
    from flwr.common.secure_aggregation.quantization import dequantize, quantize

    rng = np.random.default_rng(0)
    counts = np.array([8, 12, 15])
    changes = [(rng.standard_normal(20_000) * 0.1).astype(np.float32) for _ in counts]
    exact = sum(n * x.astype(np.float64) for n, x in zip(counts, changes, strict=True)) / counts.sum()

    target, clip = 1 << 22, 8.0
    ratios = [round(n / 1000 * target) / target for n in counts]
    np.random.seed(0)
    words = [quantize([x * r], clip, target)[0] for x, r in zip(changes, ratios, strict=True)]
    step = dequantize([sum(words)], clip, target)[0] - (len(counts) - 1) * clip
    flower = np.abs(step / sum(ratios) - exact).max()

    encoded = [encode(x, bound=1.0, weight=n / counts.sum()) for n, x in zip(counts, changes, strict=True)]
    total = np.sum([e.values for e in encoded], axis=0, dtype=np.uint32)
    ours = np.abs(decode_sum(total, bound=1.0, total_weight=1.0) - exact).max()
    assert 1e-4 < flower < 5e-4
    assert ours <= 1.5 * 2**-30 * 1.01
    assert ours < flower / 10_000
    states, keys = clients()
    sent = {node: mod._share_keys(states[node], keys) for node in states}
    masked = mod._collect_masked_vectors(states[1], forwarded(sent, 1), 8, _parameters([changes[0]]))
    sizes = [len(raw) for raw in masked[mod.Key.MASKED_PARAMETERS]]
    assert sum(sizes) > 8 * 20_000
    assert encoded[0].values.nbytes == 4 * 20_000


def test_flower_clips_in_silence_and_ours_reports_it():
    from flwr.common.secure_aggregation.quantization import dequantize, quantize

    np.random.seed(0)
    far = np.array([0.5, 9.0, -20.0, 0.25])
    back = dequantize(quantize([far], 8.0, 1 << 22), 8.0, 1 << 22)[0]
    assert np.abs(back - np.clip(far, -8, 8)).max() < 1e-5
    assert encode(far.astype(np.float32), bound=8.0, weight=1.0).clipped_fraction == 0.5


def test_no_message_kind_carries_anything_a_site_was_not_asked_for():
    """The closed list of what can leave a site."""
    assert {kind.name for kind in Kind} == {
        "HELLO",
        "SHARE",
        "MASKED",
        "HEADS",
        "SURVIVORS",
        "UNMASK",
        "RESULT",
        "CLOSE",
        "COMPLAINT",
    }
