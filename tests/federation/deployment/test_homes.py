"""Folders of coordinator and sites: what is made, what is kept, what is refused."""

import datetime
import stat
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from synthfed.cli.app import app
from synthfed.errors import FederationError
from synthfed.federation.deployment.certificates import make_link
from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.flower import free_port
from synthfed.federation.deployment.joining import FileRefused, Invitation
from synthfed.federation.deployment.site_home import CAUTIOUS, SiteHome
from synthfed.federation.deployment.superlink import front_command, require_running, superlink_command
from synthfed.federation.deployment.supernode import Found, check, require_unprivileged, supernode_command
from synthfed.federation.mailbox import Mailbox
from synthfed.federation.peer_tls import own_certificate
from synthfed.federation.site import Site
from synthfed.pipeline import Pipeline
from synthfed.run.contents import pipeline_toml
from tests.federation.linked_faults import nonsense, standing_in


def pinned(homes) -> tuple[CoordinatorHome, SiteHome, Invitation]:
    coordinator, sites = homes
    invited = coordinator.sign_roster()
    sites["lyon"].pin(invited, invited.fingerprint)
    return coordinator, sites["lyon"], invited


def test_a_site_pins_an_invitation_only_by_the_fingerprint_it_heard(homes):
    coordinator, sites = homes
    invited = coordinator.sign_roster()
    with pytest.raises(FileRefused, match="compare it with the steward by telephone"):
        sites["lyon"].pin(invited, "0000-1111")
    with pytest.raises(FederationError, match="trusts no coordinator yet"):
        _ = sites["lyon"].address
    sites["lyon"].pin(invited, invited.fingerprint)
    assert sites["lyon"].address == "fl.example.org:443"
    with Site(sites["lyon"].folder, "lyon") as opened:
        assert opened.roster.digest() == invited.roster.digest()
        assert opened.policy == CAUTIOUS


def test_a_new_site_allows_nothing_until_a_pipeline_is_approved(homes):
    _, site, _ = pinned(homes)
    pipeline = Pipeline.load("smoke")
    assert site.policy().pipelines == ()
    allowed = site.allow(pipeline)
    assert allowed.pipelines == (pipeline.digest(),) == site.allow(pipeline).pipelines
    assert "in all runs together" in (site.folder / "policy.toml").read_text()


def test_a_second_init_keeps_keys_and_policy(homes):
    coordinator, site, invited = pinned(homes)
    site.allow(Pipeline.load("smoke"))
    again = SiteHome.init(site.folder, site="lyon", organisation=site.organisation)
    assert again.join() == site.join()
    assert again.policy().pipelines
    CoordinatorHome.init(coordinator.folder, address=coordinator.address)
    assert coordinator.sign_roster() == invited
    with pytest.raises(FederationError, match="folder of site 'lyon'"):
        SiteHome.init(site.folder, site="nantes", organisation="CHU de Nantes")


@pytest.fixture
def linked(homes) -> dict[str, SiteHome]:
    """Lyon and milano offer direct links on loopback, barcelona does not; all have pinned the roster."""
    coordinator, sites = homes
    for name in ("lyon", "milano"):
        address = f"127.0.0.1:{free_port()}"
        SiteHome.init(sites[name].folder, site=name, organisation=sites[name].organisation, direct=address)
        coordinator.add((sites[name].folder / f"{name}.join").read_text())
    invited = coordinator.sign_roster()
    for home in sites.values():
        home.pin(invited, invited.fingerprint)
    return sites


def allow_direct(home: SiteHome) -> None:
    policy = replace(home.policy(), direct=True)
    (home.folder / "policy.toml").write_text(policy.to_toml())


def found(home: SiteHome, what: str) -> Found | None:
    return next((one for one in check(home) if one.what == what), None)


def test_the_roster_lists_address_and_certificate_of_sites_that_offer_direct_links(linked):
    with Site(linked["lyon"].folder, "lyon") as site:
        addresses = {member.site: bool(member.address) for member in site.roster.members}
        own = site.roster.member("lyon")
    assert addresses == {"lyon": True, "milano": True, "barcelona": False}
    assert own.certificate == own_certificate(linked["lyon"].folder / "identity")
    again = SiteHome.init(linked["lyon"].folder, site="lyon", organisation=linked["lyon"].organisation)
    assert again.join() == linked["lyon"].join()
    key = linked["lyon"].folder / "identity" / "peer.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (linked["barcelona"].folder / "identity" / "peer.key").exists()
    for name, said in (("lyon", f"direct       {own.address}; listens nowhere"), ("barcelona", "")):
        shown = CliRunner().invoke(app, ["site", "status", str(linked[name].folder)]).stdout
        assert said in shown
        assert bool(said) == ("direct  " in shown)


def test_check_says_which_peers_answer_and_who_stands_in_for_one(linked):
    lyon, milano = linked["lyon"], linked["milano"]
    assert found(linked["barcelona"], "direct links") is None
    assert "direct = false" in found(lyon, "direct links").says
    allow_direct(lyon)
    allow_direct(milano)
    down = found(lyon, "direct links")
    assert down.good
    assert "NOT site 'milano'" in down.says
    assert "firewall" in down.says
    assert "barcelona has no address" in down.says
    with Mailbox(milano.folder, "milano"):
        assert "milano answers" in found(lyon, "direct links").says
    stranger = make_link("milano")
    (milano.folder / "identity" / "peer.key").write_bytes(stranger.private)
    (milano.folder / "identity" / "peer.crt").write_bytes(stranger.public)
    listed = found(milano, "direct links")
    assert not listed.good
    assert "milano.join" in listed.says
    with Site(lyon.folder, "lyon") as site:
        member = site.roster.member("milano")
    certificates = [site.roster.member("lyon").certificate]
    with standing_in(int(member.address[-5:]), milano.folder / "identity", nonsense, listed=certificates):
        other = found(lyon, "direct links")
    assert not other.good
    assert "is not site 'milano'" in other.says


def test_secrets_are_readable_by_their_owner_only(homes):
    coordinator, site, _ = pinned(homes)
    secret = [*(coordinator.folder / "keys").iterdir(), coordinator.tls("ca.key"), coordinator.tls("server.key")]
    secret += [*(site.folder / "identity").iterdir(), site.folder / "local" / "server.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    folders = [coordinator.folder, site.folder, site.folder / "identity", coordinator.folder / "keys"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_a_roster_needs_three_sites_and_never_gives_an_index_twice(homes, tmp_path):
    coordinator, _ = homes
    empty = CoordinatorHome.init(tmp_path / "empty", address="localhost:8443")
    with pytest.raises(FederationError, match="a secure sum needs 3"):
        empty.sign_roster()
    with pytest.raises(FederationError, match="no roster is signed"):
        empty.roster()
    first = coordinator.sign_roster().roster
    (coordinator.folder / "joins" / "milano.join").unlink()
    new = SiteHome.init(tmp_path / "nantes", site="nantes", organisation="CHU de Nantes")
    coordinator.add((new.folder / "nantes.join").read_text())
    second = coordinator.sign_roster().roster
    assert second.version == first.version + 1
    assert second.member("nantes").index == 4
    assert second.member("lyon").index == first.member("lyon").index
    assert second.valid_until > datetime.date.today() + datetime.timedelta(days=300)


def test_a_run_keeps_its_pipeline_and_the_roster_it_began_with(homes):
    coordinator, _, invited = pinned(homes)
    pipeline = Pipeline.load("smoke").with_settings(["privacy.epsilon=3"])
    folder = coordinator.begin_run("first", pipeline, toml=pipeline_toml(pipeline))
    assert Pipeline.load(str(folder / "pipeline.toml")).digest() == pipeline.digest()
    assert (folder / "roster.toml").read_text() == invited.roster.to_toml()
    with pytest.raises(FederationError, match="exists; go on with --resume"):
        coordinator.begin_run("first", pipeline, toml=pipeline_toml(pipeline))
    with pytest.raises(FederationError, match="not a plain name"):
        coordinator.run_folder("../other")


def test_every_program_is_started_with_tls_and_node_keys_and_listens_on_loopback(homes, tmp_path):
    coordinator, site, _ = pinned(homes)
    with pytest.raises(FederationError, match="names no table"):
        supernode_command(site, local_port=9094)
    site = SiteHome.init(site.folder, site="lyon", organisation=site.organisation, data=tmp_path / "aml.csv")
    link, node = superlink_command(coordinator), supernode_command(site, local_port=9094)
    assert not [word for word in (*link, *node, *front_command(coordinator)) if "insecure" in word]
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(link)
    assert link[link.index("--host") + 1] == node[node.index("--host") + 1] == "127.0.0.1"
    assert {"--root-certificates", "--auth-supernode-private-key", "--ssl-certfile"} <= set(node)
    with pytest.raises(FederationError, match="is not up"):
        require_running(coordinator)


def test_root_is_refused_unless_somebody_says_otherwise(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(FederationError, match="a user of its own"):
        require_unprivileged(as_root=False)
    require_unprivileged(as_root=True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    require_unprivileged(as_root=False)


def test_a_folder_that_is_none_is_named_with_the_next_step(tmp_path):
    with pytest.raises(FederationError, match="coordinator init"):
        CoordinatorHome.open(tmp_path)
    with pytest.raises(FederationError, match="site init"):
        SiteHome.open(tmp_path)
    with pytest.raises(FederationError, match="wanted host:port"):
        CoordinatorHome.init(tmp_path / "c", address="fl.example.org")
