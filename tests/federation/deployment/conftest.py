"""A coordinator and three hospitals on disk, before anything is started."""

import pytest

from synthfed.federation.deployment.coordinator_home import CoordinatorHome
from synthfed.federation.deployment.site_home import SiteHome


@pytest.fixture
def homes(tmp_path) -> tuple[CoordinatorHome, dict[str, SiteHome]]:
    coordinator = CoordinatorHome.init(tmp_path / "coordinator", address="fl.example.org:443")
    sites = {}
    for name in ("lyon", "milano", "barcelona"):
        sites[name] = SiteHome.init(tmp_path / name, site=name, organisation=f"Hospital of {name}")
        coordinator.add((tmp_path / name / f"{name}.join").read_text())
    return coordinator, sites
