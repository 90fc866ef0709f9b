# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that role containerd writes, rendered by Ansible itself from the role's own variables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tomllib
import yaml

from tests.unit.roles.playing import link_collection, play_in

ROOT = Path(__file__).resolve().parents[3]
CONFIG = "/etc/containerd/config.toml"
PROXY = "/etc/systemd/system/containerd.service.d/http-proxy.conf"
CRICTL = "/etc/crictl.yaml"

IMAGES = {"stdout_lines": ["registry.k8s.io/kube-proxy:v1.36.3", "registry.k8s.io/pause:3.10.2"]}


def installed(version: str, **variables: Any) -> dict[str, Any]:
    """Variables of a host on which containerd has been installed in a version."""
    return {"__containerd_installation": {"versions": {"containerd": version}, "installed": []}, **variables}


#: One host for every case, with the variables that its inventory and earlier tasks would have set.
HOSTS = {
    "debian_1": installed("1.7.24~ds1-6+b2", __containerd_images=IMAGES),
    "docker_2_0": installed("2.0.5-1", __containerd_images=IMAGES),
    "docker_2_1": installed("2.1.5-1~debian.13~trixie", __containerd_images=IMAGES),
    "rpm_without_kubeadm": installed("2.1.5-1.el9"),
    "check_mode_without_index": installed(""),
    "check_mode_with_wanted_version": installed("", containerd_version="1.7.27"),
    "own_sandbox": installed(
        "2.1.5-1", __containerd_images=IMAGES, containerd_sandbox_image="registry.example.com/pause:3.9"
    ),
    "own_configuration": installed(
        "1.7.24-1",
        containerd_restrict_oom_score_adj=True,
        containerd_configuration={
            "plugins": {
                "io.containerd.grpc.v1.cri": {
                    "max_concurrent_downloads": 10,
                    "containerd": {"runtimes": {"crun": {"runtime_type": "io.containerd.runc.v2"}}},
                }
            }
        },
    ),
    "credentials": installed(
        "1.7.24-1",
        containerd_configuration={
            "plugins": {
                "io.containerd.grpc.v1.cri": {
                    "registry": {"configs": {"registry.example.com": {"auth": {"username": "a", "password": "secret"}}}}
                }
            }
        },
    ),
    "mirrors": installed("2.1.5-1", containerd_registry_mirrors={"docker.io": [{"url": "https://mirror.example.com"}]}),
    "proxy": installed(
        "2.1.5-1",
        cluster_https_proxy="http://proxy.example.com:3128",
        cluster_node_cidr="192.0.2.0/24",
        cluster_no_proxy=["registry.example.com"],
    ),
}

ROLES = ("cluster", "containerd")
PLAYBOOK = [
    {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / role / "vars" / "main.yml") for role in ROLES],
        "tasks": [
            {"name": "Render the files", "ansible.builtin.set_fact": {"rendered": "{{ __containerd_files }}"}},
            {
                "name": "Hand them to the test",
                "run_once": True,
                "ansible.builtin.copy": {
                    "content": "{{ dict(groups['all'] | zip(groups['all'] | map('extract', hostvars, 'rendered'))) }}",
                    "dest": "{{ output }}",
                    "mode": "0600",
                },
            },
        ],
    }
]


def role_defaults() -> dict[str, Any]:
    """Defaults of the roles, which give way to the variables of a host."""
    values: dict[str, Any] = {}
    for role in ROLES:
        text = (ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")
        values.update(yaml.safe_load(text))
    return values


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Host to its files as module file_set takes them."""
    folder = tmp_path_factory.mktemp("render")
    link_collection(folder)
    # The lookup of templates searches beside the playbook.
    (folder / "templates").symlink_to(ROOT / "roles" / "containerd" / "templates")
    inventory = {
        "all": {
            "hosts": HOSTS,
            "vars": {
                **role_defaults(),
                "output": str(folder / "rendered.json"),
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "ansible_facts": {"os_family": "Debian", "distribution": "Debian"},
            },
        }
    }
    run = play_in(folder, inventory, PLAYBOOK)
    assert run.returncode == 0, run.stdout + run.stderr
    result: dict[str, list[dict[str, Any]]] = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return result


@pytest.fixture(scope="module")
def rendered(files: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, str]]:
    """Host to path to content."""
    return {
        host: {entry["path"]: entry.get("content") or entry["secret_content"] for entry in files[host]}
        for host in HOSTS
    }


def configuration(rendered: dict[str, dict[str, str]], host: str) -> dict[str, Any]:
    return tomllib.loads(rendered[host][CONFIG])


RUNTIMES = {
    "default_runtime_name": "runc",
    "runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": {"SystemdCgroup": True}}},
}


def test_containerd_1_reads_configuration_version_2(rendered: dict[str, dict[str, str]]) -> None:
    assert configuration(rendered, "debian_1") == {
        "version": 2,
        "plugins": {
            "io.containerd.grpc.v1.cri": {
                "restrict_oom_score_adj": False,
                "sandbox_image": "registry.k8s.io/pause:3.10.2",
                "cni": {"conf_dir": "/etc/cni/net.d", "bin_dir": "/opt/cni/bin"},
                "containerd": RUNTIMES,
                "registry": {"config_path": "/etc/containerd/certs.d"},
            }
        },
    }


def test_containerd_2_reads_configuration_version_3(rendered: dict[str, dict[str, str]]) -> None:
    assert configuration(rendered, "docker_2_1") == {
        "version": 3,
        "plugins": {
            "io.containerd.cri.v1.runtime": {
                "restrict_oom_score_adj": False,
                "cni": {"conf_dir": "/etc/cni/net.d", "bin_dirs": ["/opt/cni/bin"]},
                "containerd": RUNTIMES,
            },
            "io.containerd.cri.v1.images": {
                "registry": {"config_path": "/etc/containerd/certs.d"},
                "pinned_images": {"sandbox": "registry.k8s.io/pause:3.10.2"},
            },
        },
    }


def test_containerd_2_0_knows_one_folder_of_cni_programs(rendered: dict[str, dict[str, str]]) -> None:
    runtime = configuration(rendered, "docker_2_0")["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtime["cni"] == {"conf_dir": "/etc/cni/net.d", "bin_dir": "/opt/cni/bin"}


@pytest.mark.parametrize(
    ("host", "version"),
    [("rpm_without_kubeadm", 3), ("check_mode_without_index", 3), ("check_mode_with_wanted_version", 2)],
)
def test_configuration_version_is_predicted(rendered: dict[str, dict[str, str]], host: str, version: int) -> None:
    assert configuration(rendered, host)["version"] == version


def test_without_kubeadm_the_sandbox_image_is_left_to_containerd(rendered: dict[str, dict[str, str]]) -> None:
    images = configuration(rendered, "rpm_without_kubeadm")["plugins"]["io.containerd.cri.v1.images"]
    assert "pinned_images" not in images


def test_own_sandbox_image_wins(rendered: dict[str, dict[str, str]]) -> None:
    images = configuration(rendered, "own_sandbox")["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"] == {"sandbox": "registry.example.com/pause:3.9"}


def test_own_configuration_is_merged(rendered: dict[str, dict[str, str]]) -> None:
    cri = configuration(rendered, "own_configuration")["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["max_concurrent_downloads"] == 10
    assert cri["restrict_oom_score_adj"] is True
    assert sorted(cri["containerd"]["runtimes"]) == ["crun", "runc"]


def test_mirrors_have_a_file_for_each_registry(rendered: dict[str, dict[str, str]]) -> None:
    text = rendered["mirrors"]["/etc/containerd/certs.d/docker.io/hosts.toml"]
    assert tomllib.loads(text) == {"host": {"https://mirror.example.com": {"capabilities": ["pull", "resolve"]}}}


def test_proxy_is_told_which_destinations_are_near(rendered: dict[str, dict[str, str]]) -> None:
    assert rendered["proxy"][PROXY].splitlines()[1:] == [
        "[Service]",
        'Environment="HTTPS_PROXY=http://proxy.example.com:3128"',
        'Environment="NO_PROXY=localhost,127.0.0.0/8,::1,api.kubernetes.internal,.svc,.cluster.local,192.0.2.0/24,'
        '10.244.0.0/16,10.96.0.0/12,registry.example.com"',
    ]


def test_without_proxy_there_is_no_drop_in(rendered: dict[str, dict[str, str]]) -> None:
    assert sorted(rendered["debian_1"]) == [CONFIG, CRICTL]


def test_crictl_talks_to_the_runtime_of_the_cluster(rendered: dict[str, dict[str, str]]) -> None:
    assert yaml.safe_load(rendered["debian_1"][CRICTL]) == {
        "runtime-endpoint": "unix:///run/containerd/containerd.sock",
        "image-endpoint": "unix:///run/containerd/containerd.sock",
        "timeout": 10,
    }


@pytest.mark.parametrize("host", HOSTS)
def test_every_file_bears_the_marker_in_its_first_line(rendered: dict[str, dict[str, str]], host: str) -> None:
    unmarked = [
        path
        for path, content in rendered[host].items()
        if "Managed by groundplane.kubeadm" not in content.partition("\n")[0]
    ]
    assert unmarked == []


def test_a_configuration_with_credentials_is_secret(
    files: dict[str, list[dict[str, Any]]], rendered: dict[str, dict[str, str]]
) -> None:
    entries = {host: next(entry for entry in files[host] if entry["path"] == CONFIG) for host in files}
    secret = entries.pop("credentials")
    assert "content" not in secret
    assert secret["mode"] == "0600"
    assert secret["validate"] == entries["own_configuration"]["validate"]
    cri = configuration(rendered, "credentials")["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["registry"]["configs"]["registry.example.com"]["auth"]["password"] == "secret"
    assert all("secret_content" not in entry for entry in entries.values())
