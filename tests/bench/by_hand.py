# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster made by hand: the plain commands of a person who knows them all and types without pause.

Every host works at the same time where it can, so that the comparison does not flatter the collection. Several control
plane nodes get no load balancer: the endpoint's name leads to the first of them.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tests.e2e.support.cluster import KUBECTL
from tests.e2e.support.lab import LabSet
from tests.e2e.support.phases import Phases
from tests.lab.versions import flannel_version, kubernetes_version, minor

ENDPOINT = "api.byhand.internal"
OFFICIAL_PACKAGES = f"https://pkgs.k8s.io/core:/stable:/{minor(kubernetes_version())}/deb/"
OFFICIAL_FLANNEL = "https://github.com/flannel-io/flannel/releases/download"
DOWNLOAD_SECONDS = 60

PREPARE = """
set -eu
echo '{master} {endpoint}' >> /etc/hosts
printf 'overlay\\nbr_netfilter\\n' > /etc/modules-load.d/kubernetes.conf
printf '%s = 1\\n' net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables net.ipv4.ip_forward \
    > /etc/sysctl.d/kubernetes.conf
sysctl --quiet --load=/etc/sysctl.d/kubernetes.conf
echo "KUBELET_EXTRA_ARGS=--node-ip=$(hostname --all-ip-addresses)" > /etc/default/kubelet
"""

PACKAGES = """
set -eu
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/apt/keyrings
cat > /etc/apt/keyrings/kubernetes.asc <<'END'
{key}
END
echo 'deb [signed-by=/etc/apt/keyrings/kubernetes.asc] {url} /' > /etc/apt/sources.list.d/kubernetes.list
apt-get -qq update
apt-get -qq -o Dpkg::Options::=--force-confold install --yes --no-install-recommends {packages} >/dev/null
apt-mark hold kubeadm kubelet kubectl >/dev/null
"""

CONTAINERD = """
set -eu
mkdir -p /etc/containerd
pause=$(kubeadm config images list --kubernetes-version={version} | grep /pause:)
containerd config default | sed \
    -e 's/SystemdCgroup = false/SystemdCgroup = true/' \
    -e 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' \
    -e 's|config_path = ""|config_path = "/etc/containerd/certs.d"|' \
    -e 's|bin_dir = .*|bin_dir = "/opt/cni/bin"|' \
    -e "s|sandbox_image = .*|sandbox_image = \\"$pause\\"|" \
    > /etc/containerd/config.toml
for mirror in {mirrors}; do
    mkdir -p /etc/containerd/certs.d/${{mirror%=*}}
    printf '[host."%s"]\\ncapabilities = ["pull", "resolve"]\\n' ${{mirror#*=}} \
        > /etc/containerd/certs.d/${{mirror%=*}}/hosts.toml
done
systemctl restart containerd
"""

IMAGES = "kubeadm config images pull --kubernetes-version={version}"

INIT = """
set -eu
cat > /root/kubeadm.yml <<'END'
{configuration}
END
kubeadm init --config=/root/kubeadm.yml {options}
"""

FLANNEL = f"""
{KUBECTL} apply --filename=- <<'END'
{{manifest}}
END
"""

READY = f"""
set -eu
{KUBECTL} wait --for=condition=Ready node --all --timeout=180s
{KUBECTL} rollout status --namespace=kube-flannel daemonset --timeout=180s
{KUBECTL} rollout status --namespace=kube-system daemonset/kube-proxy --timeout=180s
{KUBECTL} rollout status --namespace=kube-system deployment/coredns --timeout=180s
"""


@dataclass(frozen=True)
class Sources:
    """Where packages, images and manifests come from."""

    packages: str
    key: str
    mirrors: dict[str, str]
    flannel: str

    @classmethod
    def of(cls, nodes: LabSet) -> Sources:
        """Read what the lab tells the collection about it, so that both use the same places."""
        file = nodes.inventory / "group_vars/k8s_cluster/source.yml"
        variables: dict[str, Any] = yaml.safe_load(file.read_text()) or {}
        packages = variables.get("kube_packages_repository_url", OFFICIAL_PACKAGES)
        release = flannel_version()
        official = f"{OFFICIAL_FLANNEL}/{release}/kube-flannel.yml"
        flannel = variables.get("cni_flannel_manifest_url", official).replace("v{{ cni_flannel_version }}", release)
        mirrors = variables.get("containerd_registry_mirrors", {})
        return cls(
            packages=packages,
            key=_download(variables.get("kube_packages_repository_key_url", f"{packages}Release.key")),
            mirrors={registry: urls[0]["url"] for registry, urls in mirrors.items()},
            flannel=_download(flannel),
        )


class ByHand:
    """Makes a cluster of the nodes of a set."""

    def __init__(self, nodes: LabSet, packages: Sequence[str], phases: Phases) -> None:
        """Install the given packages, which are those that the collection installs."""
        self._nodes = nodes
        self._packages = packages
        self._phases = phases
        self._sources = Sources.of(nodes)

    def build(self) -> None:
        """Make the whole cluster."""
        nodes = self._nodes
        first, *others = nodes.masters
        self._prepare(nodes.names)
        with self._phases.phase("by hand: pulling the images"):
            nodes.run_on(nodes.masters, IMAGES.format(version=kubernetes_version()))
        with self._phases.phase("by hand: kubeadm init"):
            options = "--upload-certs" if others else ""
            answer = nodes.run(first, INIT.format(configuration=self._configuration(first), options=options))
        with self._phases.phase("by hand: flannel"):
            nodes.run(first, FLANNEL.format(manifest=self._sources.flannel))
        if others:
            self._join_control_plane(others, certificate_key(answer))
        self._join(nodes.workers)
        self._wait_ready()

    def add(self, worker: str) -> None:
        """Add one worker."""
        self._prepare([worker])
        self._join([worker])
        self._wait_ready()

    def _prepare(self, names: Iterable[str]) -> None:
        nodes = self._nodes
        chosen = list(names)
        with self._phases.phase("by hand: kernel and names"):
            nodes.run_on(chosen, PREPARE.format(master=nodes.address(nodes.masters[0]), endpoint=ENDPOINT))
        with self._phases.phase("by hand: packages"):
            packages = " ".join(self._packages)
            script = PACKAGES.format(key=self._sources.key, url=self._sources.packages, packages=packages)
            nodes.run_on(chosen, script)
        with self._phases.phase("by hand: containerd"):
            mirrors = " ".join(f"{registry}={url}" for registry, url in self._sources.mirrors.items())
            nodes.run_on(chosen, CONTAINERD.format(mirrors=mirrors, version=kubernetes_version()))

    def _join_control_plane(self, masters: Sequence[str], key: str) -> None:
        """Join control plane nodes one after the other, because etcd takes one new member at a time."""
        with self._phases.phase(f"by hand: kubeadm join --control-plane, {len(masters)} one after the other"):
            command = self._join_command()
            for name in masters:
                self._nodes.run(name, f"{command} --control-plane --certificate-key={key}")

    def _join(self, workers: Sequence[str]) -> None:
        with self._phases.phase(f"by hand: kubeadm join, {len(workers)} at once"):
            self._nodes.run_on(workers, self._join_command())

    def _join_command(self) -> str:
        command = self._nodes.run(self._nodes.masters[0], "kubeadm token create --ttl=30m --print-join-command")
        return f"{command.strip()} --ignore-preflight-errors=SystemVerification"

    def _wait_ready(self) -> None:
        with self._phases.phase("by hand: until everything is Ready"):
            self._nodes.run(self._nodes.masters[0], READY)

    def _configuration(self, master: str) -> str:
        """Configuration of kubeadm, with what nodes in containers need (inventories/lab)."""
        documents = [
            {
                "apiVersion": "kubeadm.k8s.io/v1beta4",
                "kind": "InitConfiguration",
                "localAPIEndpoint": {"advertiseAddress": self._nodes.address(master)},
                "nodeRegistration": {"ignorePreflightErrors": ["SystemVerification"]},
            },
            {
                "apiVersion": "kubeadm.k8s.io/v1beta4",
                "kind": "ClusterConfiguration",
                "kubernetesVersion": kubernetes_version(),
                "controlPlaneEndpoint": f"{ENDPOINT}:6443",
                "networking": {"podSubnet": "10.244.0.0/16"},
            },
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "failCgroupV1": False,
                "featureGates": {"KubeletInUserNamespace": True},
            },
            {
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                "kind": "KubeProxyConfiguration",
                "conntrack": {"maxPerCore": 0},
            },
        ]
        return str(yaml.safe_dump_all(documents))


def certificate_key(answer: str) -> str:
    """Key of the uploaded certificates in the answer of `kubeadm init`."""
    found = re.search(r"--certificate-key ([0-9a-f]{64})\b", answer)
    assert found, f"kubeadm init named no certificate key:\n{answer}"
    return found[1]


def _download(url: str) -> str:
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if url.startswith("http://10.") else []))
    with opener.open(url, timeout=DOWNLOAD_SECONDS) as answer:
        return str(answer.read().decode())
