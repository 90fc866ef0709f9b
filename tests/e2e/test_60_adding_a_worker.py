# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One more host in the inventory joins by running site.yml again, even while another worker is down."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.support.cluster import KUBECTL, Cluster
from tests.e2e.support.leaks import files_with, readable_by_nobody, secrets_in
from tests.e2e.support.phases import Phases
from tests.e2e.support.site import KUBEADM_NODE, Run

UNREACHABLE_EXIT_CODE = 4


@dataclass(frozen=True)
class Addition:
    """The run that added a worker, with the join tokens that existed while it went on."""

    worker: str
    stopped: str
    run: Run
    tokens: list[str]


@pytest.fixture(scope="module")
def addition(cluster: Cluster, phases: Phases) -> Iterator[Addition]:
    """A third worker, added while the second one is switched off."""
    nodes = cluster.nodes
    stopped = nodes.workers[1]
    nodes.up(masters=1, workers=3)
    added = nodes.workers[2]
    nodes.stop([stopped])
    watch = f"{KUBECTL} get secrets --namespace=kube-system --watch --output=json"
    with subprocess.Popen(
        nodes.command(cluster.master, f"timeout 600 {watch}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as watcher:
        with phases.phase("adding a third worker while another is down"):
            run = cluster.site.run("-vvv")
        nodes.run(cluster.master, "pkill -f 'kubectl.*get secrets'")
        assert watcher.stdout
        tokens = _tokens(watcher.stdout.read())
    yield Addition(added, stopped, run, tokens)
    nodes.start([stopped])
    cluster.wait_healthy()


def test_the_worker_joins_while_another_is_unreachable(addition: Addition, cluster: Cluster) -> None:
    assert addition.run.returncode in (0, UNREACHABLE_EXIT_CODE), addition.run.tail()
    assert addition.worker in cluster.ready_nodes()
    assert addition.run.changed_by(KUBEADM_NODE) == [addition.worker]


def test_nobody_else_is_changed(addition: Addition, cluster: Cluster) -> None:
    others = set(cluster.nodes.names) - {addition.worker, addition.stopped}

    # The short-lived join token is made and deleted on the control plane node.
    tokens = "groundplane.kubeadm.bootstrap_token"
    assert not [
        item
        for item in addition.run.evaluations
        if item["host"] in others and item["outcome"] == "changed" and item["module"] != tokens
    ]


def test_the_token_that_existed_is_neither_in_the_output_nor_in_a_file(addition: Addition, cluster: Cluster) -> None:
    assert addition.tokens, "No join token was seen in the cluster, so nothing was shown"
    secrets = [secret for token in addition.tokens for secret in (token, token.split(".")[1])]

    assert not [secret for secret in secrets if secret in addition.run.output]
    assert not secrets_in(addition.run.output)
    assert not files_with(secrets, cluster.site.work)
    found = {name: readable_by_nobody(cluster.nodes, name) for name in (cluster.master, addition.worker)}
    assert not any(found.values()), found


def test_the_token_is_gone_after_the_run(addition: Addition, cluster: Cluster) -> None:
    assert not cluster.join_secrets()


def _tokens(stream: str) -> list[str]:
    """Join tokens in a stream of JSON objects."""
    decoder = json.JSONDecoder()
    tokens = set()
    while stream := stream.lstrip():
        secret, end = decoder.raw_decode(stream)
        stream = stream[end:]
        if secret["type"] == "bootstrap.kubernetes.io/token":
            data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            tokens.add(f"{data['token-id']}.{data['token-secret']}")
    return sorted(tokens)
