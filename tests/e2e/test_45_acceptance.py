# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The acceptance tests of `make verify` judge a cluster that they know by its inventory, and leave it as it was."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.workload import NAMESPACE
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import PROGRAMS
from tests.e2e.support.workload import IMAGE
from tests.lab.settings import REPOSITORY_ROOT

SECONDS = 600


def verify(inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the acceptance tests as `make verify` does."""
    return subprocess.run(
        [
            *(PROGRAMS / "pytest", "-p", "no:cacheprovider", "molecule/shared/tests", "--hosts=ansible://k8s_cluster"),
            *(f"--ansible-inventory={inventory}", f"--image={IMAGE}", *arguments),
        ],
        cwd=REPOSITORY_ROOT,
        env={
            **os.environ,
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(REPOSITORY_ROOT / "ansible.cfg"),
        },
        timeout=SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )


def state(cluster: Cluster) -> tuple[list[str], dict[str, list[str]]]:
    """Namespaces, and the images of each node."""
    images = cluster.nodes.run_on(cluster.nodes.names, "crictl images --quiet | sort")
    namespaces = [item["metadata"]["name"] for item in cluster.items("namespaces")]
    return namespaces, {name: listing.split() for name, listing in images.items()}


@pytest.fixture
def promised_canal(cluster: Cluster, tmp_path: Path) -> Path:
    """An inventory of the cluster that promises policies where flannel has none."""
    inventory = tmp_path / "inventory"
    group_variables = inventory / "group_vars/k8s_cluster"
    group_variables.mkdir(parents=True)
    (inventory / "hosts.yml").symlink_to(cluster.nodes.inventory / "hosts.yml")
    for path in (cluster.nodes.inventory / "group_vars/k8s_cluster").iterdir():
        (group_variables / path.name).symlink_to(path)
    (group_variables / "promise.yml").write_text(yaml.safe_dump({"cluster_cni": "canal"}))
    return inventory


@pytest.fixture
def foreign_namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the name that the tests use, made by somebody else."""
    cluster.kubectl(f"create namespace {NAMESPACE}")
    yield NAMESPACE
    cluster.kubectl(f"delete namespace {NAMESPACE}")


def test_a_sound_cluster_passes_and_is_left_as_it_was(cluster: Cluster, phases: Phases) -> None:
    before = state(cluster)
    with phases.phase("acceptance tests on the main cluster"):
        result = verify(cluster.nodes.inventory)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr
    assert state(cluster) == before


def test_a_promise_that_the_network_does_not_keep_is_found(cluster: Cluster, promised_canal: Path) -> None:
    result = verify(promised_canal, "-k", "policies_are_enforced")
    assert result.returncode == 1, result.stdout[-5000:] + result.stderr
    assert "silence on every way between nodes" in result.stdout
    assert NAMESPACE not in state(cluster)[0]


def test_a_namespace_of_somebody_else_is_not_touched(cluster: Cluster, foreign_namespace: str) -> None:
    before = json.loads(cluster.kubectl(f"get namespace {foreign_namespace} --output=json"))
    result = verify(cluster.nodes.inventory, "-k", "every_node_has_a_pod")
    assert result.returncode == 1, result.stdout[-5000:] + result.stderr
    assert "To do: delete or rename it" in result.stdout
    assert json.loads(cluster.kubectl(f"get namespace {foreign_namespace} --output=json")) == before
    assert "No resources found" in cluster.kubectl(f"get pods --namespace={foreign_namespace} 2>&1")
