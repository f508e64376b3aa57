"""What a site answers, refuses and remembers, message by message."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthfed.errors import BudgetRefused, LedgerBroken
from synthfed.federation import stages, wire
from synthfed.federation.in_process import Wiretap, run_in_process
from synthfed.federation.manifest import Manifest, ManifestError, synthfed_version
from synthfed.federation.policy import Policy, PolicyError
from synthfed.federation.refused import Refused, refusal_of
from synthfed.federation.server_app import kept_manifest
from synthfed.federation.site import Site, SiteUnusable
from synthfed.federation.training import CodedRows, TrainingWork
from tests.federation.fakes import MeanGenerator, TwoBlocks, small_pipeline, unequal_sites

SITES = unequal_sites(("lyon", "milano", "berlin"))


def stop_at(work: Path, kind: str, reply: bool) -> None:
    """Run until the first message (or reply) of a kind, then pull the plug."""

    def fault(message):
        if message.metadata.message_type == kind and bool(message.metadata.reply_to_message_id) == reply:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_process(
            pipeline=small_pipeline(),
            transformer=TwoBlocks(),
            sites=SITES,
            work=work,
            simulated=True,
            generator=MeanGenerator(),
            wiretap=Wiretap(faults=fault),
        )


def relay_of(work: Path) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes((work / "coordinator" / "relay.key").read_bytes())


def manifest_of(work: Path) -> Manifest:
    found = kept_manifest(work / "coordinator", relay_of(work).public_key().public_bytes_raw())
    assert found is not None
    return found


def open_sites(work: Path) -> dict[str, Site]:
    return {name: Site(work / "sites" / name, name) for name in SITES}


def enrol(site: Site, manifest: Manifest, relay: Ed25519PrivateKey) -> wire.EnrolReply:
    request = wire.EnrolRequest(manifest.to_bytes(), manifest.sign(relay))
    return stages.enrol(site, 7, request, version=synthfed_version())


def train(site: Site, request: wire.RoundRequest, generator: MeanGenerator) -> wire.RoundReply:
    return stages.contribute(
        site,
        request,
        work_of=lambda manifest: TrainingWork(manifest, lambda _: CodedRows(SITES[site.name]), lambda _: generator),
    )


@pytest.fixture
def fresh(tmp_path):
    """Three sites whose coordinator stopped before anybody enrolled."""
    stop_at(tmp_path, "query.enrol", reply=False)
    return tmp_path


def first_round(work: Path, sites: dict[str, Site]) -> dict[str, wire.RoundRequest]:
    """Enrol, hello, share; the round requests a relay would send."""
    manifest, relay = manifest_of(work), relay_of(work)
    name = manifest.hash()
    for site in sites.values():
        enrol(site, manifest, relay)
    hellos = tuple(stages.hello(site, wire.HelloRequest(name, 0, 0)).hello for site in sites.values())
    dealt = {k: stages.share(site, wire.ShareRequest(name, 0, 0, hellos)) for k, site in sites.items()}
    public = tuple(reply.share for reply in dealt.values())

    def sealed_for(site: Site) -> tuple[bytes, ...]:
        own = site.roster.member(site.name).index
        return tuple(reply.sealed[reply.sealed_to.index(own)] for peer, reply in dealt.items() if peer != site.name)

    model = bytes(4 * manifest.size)
    return {k: wire.RoundRequest(name, 0, 0, model, b"", b"", public, sealed_for(site)) for k, site in sites.items()}


def test_the_same_request_gets_the_same_bytes_and_is_charged_once(fresh):
    sites = open_sites(fresh)
    requests = first_round(fresh, sites)
    generator = MeanGenerator()
    site = sites["lyon"]
    once = train(site, requests["lyon"], generator)
    site.shut()
    again = train(Site(fresh / "sites" / "lyon", "lyon"), requests["lyon"], generator)
    assert again == once
    assert generator.stints == [0]
    assert len(site.ledger().export()["events"]) == 1


def test_another_request_for_an_answered_stage_is_refused(fresh):
    sites = open_sites(fresh)
    requests = first_round(fresh, sites)
    generator = MeanGenerator()
    train(sites["lyon"], requests["lyon"], generator)
    other = replace(requests["lyon"], model=b"\1" + requests["lyon"].model[1:])
    with pytest.raises(Refused) as caught:
        train(sites["lyon"], other, generator)
    assert caught.value.code == "replay"
    assert generator.stints == [0]


@pytest.mark.parametrize("change", [{"round_index": 1}, {"round_index": 99}, {"attempt": 1}])
def test_a_round_out_of_order_is_refused_and_nothing_is_trained(fresh, change):
    sites = open_sites(fresh)
    request = first_round(fresh, sites)["lyon"]
    generator = MeanGenerator()
    with pytest.raises(Refused) as caught:
        train(sites["lyon"], replace(request, **change), generator)
    assert caught.value.code == "order"
    assert generator.stints == []
    assert sites["lyon"].ledger().export()["events"] == []


def test_a_model_of_another_size_is_refused(fresh):
    sites = open_sites(fresh)
    request = first_round(fresh, sites)["lyon"]
    with pytest.raises(wire.BadMessage):
        train(sites["lyon"], replace(request, model=request.model[:-4]), MeanGenerator())


def test_a_run_nobody_enrolled_in_is_unknown(fresh):
    site = open_sites(fresh)["lyon"]
    for name in (manifest_of(fresh).hash(), "0" * 64, "../../identity"):
        with pytest.raises(Refused) as caught:
            stages.hello(site, wire.HelloRequest(name, 0, 0))
        assert caught.value.code == "manifest"


def test_a_manifest_that_the_relay_did_not_sign_is_refused(fresh):
    site, manifest = open_sites(fresh)["lyon"], manifest_of(fresh)
    with pytest.raises(ManifestError, match="not signed by the relay"):
        enrol(site, manifest, Ed25519PrivateKey.generate())
    altered = wire.EnrolRequest(manifest.to_bytes().replace(b"lyon", b"lyom"), manifest.sign(relay_of(fresh)))
    with pytest.raises(ManifestError):
        stages.enrol(site, 7, altered, version=synthfed_version())
    assert not list((fresh / "sites" / "lyon" / "runs").iterdir())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"roster": "00" * 32}, "roster"),
        ({"sites": ("lyon", "milano", "oslo")}, "roster"),
        ({"version": "0.0.1"}, "versions"),
        ({"pipeline": small_pipeline(privacy__epsilon=50.0).canonical().decode()}, "policy.pipelines"),
    ],
)
def test_a_signed_manifest_of_another_roster_version_or_pipeline_is_refused(fresh, change, code):
    site = open_sites(fresh)["lyon"]
    with pytest.raises(Refused) as caught:
        enrol(site, replace(manifest_of(fresh), **change), relay_of(fresh))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "change", [{"local_steps": 1}, {"clip_norm": 9.0}, {"expected_batch": 1.0}, {"noise_multiplier": 0.0}]
)
def test_a_plan_that_is_not_its_pipelines_is_refused(fresh, change):
    site, manifest = open_sites(fresh)["lyon"], manifest_of(fresh)
    with pytest.raises(ManifestError, match="is not its pipeline's"):
        enrol(site, replace(manifest, plan=replace(manifest.plan, **change)), relay_of(fresh))


def test_a_plan_with_less_noise_than_the_budget_needs_is_refused_by_the_ledger(fresh):
    site, manifest = open_sites(fresh)["lyon"], manifest_of(fresh)
    less = replace(manifest.plan, noise_multiplier=manifest.plan.noise_multiplier / 2)
    with pytest.raises(BudgetRefused):
        enrol(site, replace(manifest, plan=less), relay_of(fresh))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pipelines", ()),
        ("min_sites", 4),
        ("max_rounds", 2),
        ("max_steps", 5),
        ("delta", 1e-7),
        ("allow_seeded", False),
        ("epsilon_run", 1.0),
    ],
)
def test_a_policy_refuses_by_key(fresh, key, value):
    site = open_sites(fresh)["lyon"]
    site.policy = replace(site.policy, **{key: value})
    with pytest.raises(Refused) as caught:
        enrol(site, manifest_of(fresh), relay_of(fresh))
    assert caught.value.code == f"policy.{key}"


def test_a_smaller_budget_refuses_the_whole_run_before_contact(fresh):
    site = open_sites(fresh)["lyon"]
    site.policy = replace(site.policy, epsilon_total=1.0)
    with pytest.raises(BudgetRefused):
        enrol(site, manifest_of(fresh), relay_of(fresh))
    assert refusal_of(BudgetRefused("lyon has 31 rows")).code == "budget"


def test_a_lost_ledger_is_not_begun_anew(fresh):
    site = open_sites(fresh)["lyon"]
    enrol(site, manifest_of(fresh), relay_of(fresh))
    site.shut()
    (fresh / "sites" / "lyon" / "ledger.sqlite").unlink()
    with pytest.raises(LedgerBroken, match="restore it"):
        Site(fresh / "sites" / "lyon", "lyon").ledger()


def test_two_messages_of_one_run_do_not_interleave(fresh):
    site, manifest = open_sites(fresh)["lyon"], manifest_of(fresh)
    enrol(site, manifest, relay_of(fresh))
    with site.run(manifest.hash()), pytest.raises(Refused) as caught:
        stages.hello(Site(site.folder, "lyon"), wire.HelloRequest(manifest.hash(), 0, 0))
    assert caught.value.code == "busy"


def test_stored_state_shows_no_key_and_no_vector(fresh):
    sites = open_sites(fresh)
    requests = first_round(fresh, sites)
    site = sites["lyon"]
    reply = train(site, requests["lyon"], MeanGenerator())
    with site.run(manifest_of(fresh).hash()) as run:
        frozen = run.session(0, 0)
    stored = b"".join(path.read_bytes() for path in site.folder.glob("runs/*/state.sqlite*"))
    assert reply.masked[:200] not in stored
    windows = (frozen[at : at + 32] for at in range(200, len(frozen) - 32, 97))
    assert not any(window in stored for window in windows if len(set(window)) > 12)  # others are lengths and zeros


def test_a_key_file_that_others_may_read_is_refused(fresh):
    (fresh / "sites" / "lyon" / "identity" / "site.key").chmod(0o644)
    with pytest.raises(SiteUnusable, match="0600"):
        Site(fresh / "sites" / "lyon", "lyon")


def test_a_site_under_another_name_or_key_is_refused(fresh):
    with pytest.raises(SiteUnusable, match="another key"):
        Site(fresh / "sites" / "lyon", "milano")
    with pytest.raises(SiteUnusable, match="cannot be used"):
        Site(fresh / "sites" / "lyon", "oslo")


@pytest.mark.parametrize(
    "text",
    ["", "min_sites = 3", "pipelines = 3", "epsilon_total = -1.0", "surplus = 1"],
)
def test_a_policy_with_missing_or_wrong_keys_refuses_everything(tmp_path, text):
    good = Policy(("ab",), 3, 5.0, 1e-5, 10, 30).to_toml()
    path = tmp_path / "policy.toml"
    path.write_text(good)
    assert Policy.load(path) == Policy(("ab",), 3, 5.0, 1e-5, 10, 30)
    if "=" in text:
        key = text.split(" =")[0]
        kept = [line for line in good.splitlines() if not line.startswith(key)]
        text = "\n".join(kept if text == "min_sites = 3" else [*kept, text])
    path.write_text(text)
    with pytest.raises(PolicyError):
        Policy.load(path)


def test_a_manifest_reads_back_and_only_in_its_canonical_form(fresh):
    manifest = manifest_of(fresh)
    raw = manifest.to_bytes()
    assert Manifest.from_bytes(raw) == manifest
    for other in (raw + b" ", raw.replace(b'"nonce"', b'"nonxe"'), b"{}", b"[]", b"\xff"):
        with pytest.raises(ManifestError):
            Manifest.from_bytes(other)


def test_key_messages_load_neither_torch_nor_tables_nor_scipy(tmp_path):
    """A deployed message is a process of its own; torch would cost each of them more than a second, scipy a fifth."""
    stop_at(tmp_path, "query.hello", reply=False)
    script = f"""
import sys
from pathlib import Path
from synthfed.federation import client_app, stages, wire
from synthfed.federation.site import Site
sites = [Site(Path({str(tmp_path)!r}) / "sites" / name, name) for name in {sorted(SITES)!r}]
run = {manifest_of(tmp_path).hash()!r}
hellos = tuple(stages.hello(site, wire.HelloRequest(run, 0, 0)).hello for site in sites)
for site in sites:
    stages.share(site, wire.ShareRequest(run, 0, 0, hellos))
loaded = {{"torch", "opacus", "pandas", "scipy", "sdv"}} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
