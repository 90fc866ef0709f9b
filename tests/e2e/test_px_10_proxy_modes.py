# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube-proxy of a running cluster changes its mode, and back: Services answer, and nothing of the former is left."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenSet
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.e2e.support.poller import Poller
from tests.e2e.support.proxy import IPTABLES, IPVS, MARK, NFTABLES, Proxy
from tests.e2e.support.site import Run, Site
from tests.e2e.support.workload import Web

# A dozen runs of site.yml.
pytestmark = pytest.mark.long

TO_NFTABLES = {"cluster_proxy_mode": NFTABLES}
MODULE = "groundplane.kubeadm.kube_proxy"
RULES = "groundplane.kubeadm.kube_proxy_rules"
STEADY_SECONDS = 3

#: One pod of kube-proxy is started anew after the other, and between the old rules and the new ones a node has none.
ALLOWED_GAP_SECONDS = 10.0

#: A rule and a table of somebody else's.
FOREIGN_RULE = "-A INPUT -p tcp -m tcp --dport 9 -m comment --comment KUBE-like -j ACCEPT"
FOREIGN_CHAIN = "KUBEL-OPERATOR"
SEED = f"iptables {FOREIGN_RULE} && iptables -t nat -N {FOREIGN_CHAIN}"


@dataclass(frozen=True)
class Changed:
    """A run that has changed the mode, with the configuration from before."""

    proxy: Proxy
    run: Run
    before: list[str]
    gap: float


@pytest.fixture(scope="module")
def proxy(open_set: OpenSet, work: Path, phases: Phases) -> Iterator[Proxy]:
    """A cluster of its own in the default mode, with a web deployment and rules of somebody else's."""
    with open_set(LabSet("e2e-proxy", "trixie", "1.7")) as nodes:
        nodes.up(masters=1, workers=1)
        site = Site(nodes.inventory, work / "e2e-proxy")
        with phases.phase("first run of site.yml, kube-proxy in mode iptables"):
            site.run().require_success()
        cluster = Cluster(nodes, site)
        web = Web(cluster)
        web.apply()
        nodes.run_on(nodes.names, SEED)
        yield Proxy(cluster, web)


def change(proxy: Proxy, mode: str, phases: Phases) -> Changed:
    """Run site.yml with another mode while the deployment is asked all the time."""
    before = proxy.configuration
    addresses = [proxy.cluster.nodes.address(name) for name in proxy.cluster.nodes.names]
    with Poller(addresses, proxy.web.node_port) as poller:
        poller.wait_steady(STEADY_SECONDS)
        started = time.monotonic()
        with phases.phase(f"site.yml changes kube-proxy to mode {mode}"):
            run = proxy.cluster.site.run(variables={"cluster_proxy_mode": mode})
        poller.wait_steady(STEADY_SECONDS)
        gap = poller.longest_gap(started)
    phases.figure(f"{gap:6.1f} s  without an answer at a NodePort while kube-proxy changed to mode {mode}")
    return Changed(proxy, run, before, gap)


@pytest.fixture(scope="module")
def nftables(proxy: Proxy, phases: Phases) -> Changed:
    """The run from iptables to nftables."""
    return change(proxy, NFTABLES, phases)


@pytest.fixture(scope="module")
def back(nftables: Changed, phases: Phases) -> Changed:
    """The run from nftables to iptables."""
    nftables.run.require_success()
    return change(nftables.proxy, IPTABLES, phases)


def require_only_the_mode(changed: Changed, former: str, mode: str) -> None:
    lines = difflib.ndiff(changed.before, changed.proxy.configuration)
    assert [line for line in lines if line[0] in "+-"] == [f"- mode: {former}", f"+ mode: {mode}"]
    assert not changed.proxy.under_way


def require_foreign(proxy: Proxy) -> None:
    for saved in proxy.cluster.nodes.run_on(proxy.cluster.nodes.names, "iptables-save").values():
        assert FOREIGN_RULE in saved
        assert f":{FOREIGN_CHAIN} " in saved
        assert "FLANNEL-" in saved


def test_a_new_cluster_runs_in_mode_iptables(proxy: Proxy) -> None:
    assert f"mode: {IPTABLES}" in proxy.configuration
    proxy.require(IPTABLES)
    proxy.require_services()


def test_a_mode_that_the_kernel_lacks_is_refused(proxy: Proxy) -> None:
    if "CONFIG_IP_VS=" in proxy.cluster.nodes.run(proxy.cluster.master, "zcat /proc/config.gz || true"):
        pytest.skip("this kernel has IPVS")
    before, pods = proxy.configuration, proxy.pods()
    run = proxy.cluster.site.run(variables={"cluster_proxy_mode": IPVS})
    run.require_refusal("proxy-mode", "ip_vs", "deprecated")
    assert (proxy.configuration, proxy.pods(), proxy.under_way) == (before, pods, False)
    proxy.require(IPTABLES)


def test_two_modes_at_once_are_refused(proxy: Proxy) -> None:
    variables = {**TO_NFTABLES, "control_plane_kube_proxy_configuration": {"mode": IPTABLES}}
    run = proxy.cluster.site.run(variables=variables)
    run.require_refusal("control_plane_kube_proxy_configuration", "cluster_proxy_mode nftables")


def test_a_change_without_every_node_is_refused(proxy: Proxy) -> None:
    limit = f"--limit={proxy.cluster.master}"
    proxy.cluster.site.run(limit, variables=TO_NFTABLES).require_refusal("proxy-mode-change")


def test_the_change_is_predicted_and_changes_nothing(proxy: Proxy) -> None:
    before, pods = proxy.config_map, proxy.pods()
    run = proxy.cluster.site.run("--check", "--diff", variables=TO_NFTABLES).require_success()
    assert len(run.changed_by(MODULE)) == 1
    assert not run.changed_by(RULES)
    assert "+mode: nftables" in run.output
    assert (proxy.config_map, proxy.pods()) == (before, pods)


def test_from_iptables_to_nftables(nftables: Changed) -> None:
    nftables.run.require_success()
    assert len(nftables.run.changed_by(MODULE)) == 1
    require_only_the_mode(nftables, IPTABLES, NFTABLES)
    nftables.proxy.require(NFTABLES)
    nftables.proxy.require_services()
    require_foreign(nftables.proxy)
    assert nftables.gap <= ALLOWED_GAP_SECONDS


def test_a_second_run_changes_nothing(nftables: Changed) -> None:
    nftables.run.require_success()
    pods = nftables.proxy.pods()
    nftables.proxy.cluster.site.run(variables=TO_NFTABLES).require_unchanged()
    nftables.proxy.cluster.site.run("--check", "--diff", variables=TO_NFTABLES).require_unchanged()
    assert nftables.proxy.pods() == pods


def test_the_deployment_can_be_made_anew_in_mode_nftables(nftables: Changed) -> None:
    """Rules are made for Services and pods that come, and not only for those from before."""
    nftables.run.require_success()
    cluster = nftables.proxy.cluster
    cluster.kubectl("rollout restart deployment/web")
    cluster.kubectl("rollout status deployment/web --timeout=120s")
    nftables.proxy.web.wait_ready()
    nftables.proxy.require_services()


def test_from_nftables_back_to_iptables(back: Changed) -> None:
    back.run.require_success()
    require_only_the_mode(back, NFTABLES, IPTABLES)
    back.proxy.require(IPTABLES)
    back.proxy.require_services()
    require_foreign(back.proxy)
    assert back.gap <= ALLOWED_GAP_SECONDS


def test_the_way_back_is_over(back: Changed) -> None:
    back.run.require_success()
    back.proxy.cluster.site.run().require_unchanged()


def test_a_run_that_was_killed_before_the_restart_is_continued(back: Changed) -> None:
    """The configuration is the new one, with the mark that is written along with it, and the pods are the old ones."""
    back.run.require_success()
    proxy, pods = back.proxy, back.proxy.pods()
    text = "\n".join(proxy.configuration).replace(f"mode: {IPTABLES}", f"mode: {NFTABLES}")
    mark = {MARK: f"{IPTABLES} 2026-11-21T07:48:52Z"}
    patch = json.dumps({"metadata": {"annotations": mark}, "data": {"config.conf": text}})
    proxy.cluster.kubectl(f"patch configmap kube-proxy --namespace=kube-system --type=merge --patch='{patch}'")
    proxy.require(IPTABLES)

    predicted = proxy.cluster.site.run("--check", "--diff", variables=TO_NFTABLES).require_success()
    assert len(predicted.changed_by(MODULE)) == 1
    run = proxy.cluster.site.run(variables=TO_NFTABLES).require_success()

    assert len(run.changed_by(MODULE)) == 1
    assert not set(proxy.pods().values()) & set(pods.values())
    assert not proxy.under_way
    proxy.require(NFTABLES)
    proxy.require_services()
    proxy.cluster.site.run(variables=TO_NFTABLES).require_unchanged()
