# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that role load_balancer writes, rendered by Ansible itself from the role's own variables."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles.playing import link_collection, play_in

ROOT = Path(__file__).resolve().parents[3]
HAPROXY = "/etc/groundplane/haproxy.cfg"
KEEPALIVED = "/etc/groundplane/keepalived.conf"
CHECK = "/etc/groundplane/check-haproxy"
HAPROXY_UNIT = "/etc/systemd/system/groundplane-haproxy.service"
KEEPALIVED_UNIT = "/etc/systemd/system/groundplane-keepalived.service"

MASTERS = {"master-1": "192.0.2.11", "master-2": "192.0.2.12", "master-3": "192.0.2.13"}
MASTERS_6 = {"master-1": "2001:db8::11", "master-2": "2001:db8::12", "master-3": "2001:db8::13"}


def node(address: str, masters: dict[str, str] | None = None, **variables: Any) -> dict[str, Any]:
    """Variables of a master, as the inventory and earlier tasks would have set them."""
    return {
        "cluster_vip": "192.0.2.10",
        "__cluster_node": {"address": address, "interface": "eth0", "mtu": 1500},
        "__cluster_control_plane_addresses": MASTERS if masters is None else masters,
        **variables,
    }


#: One host for every case.
HOSTS = {
    "first": node("192.0.2.11"),
    "second": node("192.0.2.12"),
    "third": node("192.0.2.13"),
    "alone": node("192.0.2.11", {"master-1": "192.0.2.11"}),
    "ipv6": node("2001:db8::12", MASTERS_6, cluster_vip="2001:db8::1:ab10"),
    "multicast": node("192.0.2.11", load_balancer_unicast=False),
    "multicast_on_the_command_line": node("192.0.2.11", load_balancer_unicast="false"),
    "tcp": node("192.0.2.11", load_balancer_health_check="tcp"),
    "other_ports": node("192.0.2.11", cluster_endpoint_port=8443, cluster_api_port=16443, load_balancer_health_port=9),
    "other_times": node(
        "192.0.2.11",
        load_balancer_advertisement_interval=1.25,
        load_balancer_check_interval=3,
        load_balancer_connect_timeout=4,
        load_balancer_idle_timeout=60,
        load_balancer_drain_timeout=5,
        load_balancer_maximum_connections=100,
    ),
    "strange_names": node("192.0.2.11", {"root@master 1": "192.0.2.11", "master_2.example.com": "192.0.2.12"}),
    "vip_ending_in_zero": node("192.0.2.11", cluster_vip="192.0.2.0"),
    "ipv6_vip_ending_in_nothing": node("2001:db8::11", MASTERS_6, cluster_vip="2001:db8::"),
    "many_masters": node("192.0.2.59", {f"master-{number}": f"192.0.2.{number}" for number in range(20, 60)}),
}

ROLES = ("cluster", "load_balancer")
PLAYBOOK = [
    {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / role / "vars" / "main.yml") for role in ROLES],
        "tasks": [
            {
                "name": "Set what an earlier task sets",
                "ansible.builtin.set_fact": {
                    name: f"{{{{ given.{name} }}}}" for name in ("__cluster_node", "__cluster_control_plane_addresses")
                },
            },
            {"name": "Render the files", "ansible.builtin.set_fact": {"rendered": "{{ __load_balancer_files }}"}},
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

Rendered = dict[str, dict[str, dict[str, Any]]]


def role_defaults() -> dict[str, Any]:
    """Defaults of the roles, which give way to the variables of a host."""
    values: dict[str, Any] = {}
    for role in ROLES:
        text = (ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")
        values.update(yaml.safe_load(text))
    return values


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Host to path to the entry of file_set."""
    folder = tmp_path_factory.mktemp("render")
    link_collection(folder)
    # The lookup of templates searches beside the playbook.
    (folder / "templates").symlink_to(ROOT / "roles" / "load_balancer" / "templates")
    inventory = {
        "all": {
            "hosts": {host: {**variables, "given": variables} for host, variables in HOSTS.items()},
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
    files = json.loads((folder / "rendered.json").read_text(encoding="utf-8"))
    return {host: {entry["path"]: entry for entry in files[host]} for host in HOSTS}


def lines(rendered: Rendered, host: str, path: str) -> list[str]:
    """Lines of a file without indentation and comments."""
    text = rendered[host][path]["content"]
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def section(rendered: Rendered, host: str, path: str, head: str) -> list[str]:
    """Lines of a section, which ends where the indentation does."""
    text = rendered[host][path]["content"]
    found = re.search(rf"^{re.escape(head)}\n((?:[ ]+.*\n|\n)+)", text, re.MULTILINE)
    assert found, f"no section {head} in {text}"
    return [line.strip() for line in found[1].splitlines() if line.strip() and not line.strip().startswith("#")]


def block(rendered: Rendered, host: str, head: str) -> list[str]:
    """Lines between the braces of a block of keepalived's configuration."""
    found = re.search(rf"^ *{head} {{\n(.*?)^ *}}", rendered[host][KEEPALIVED]["content"], re.MULTILINE | re.DOTALL)
    assert found, f"no block {head}"
    return [line.strip() for line in found[1].splitlines() if not line.strip().startswith("#")]


def value(rendered: Rendered, host: str, keyword: str) -> str:
    """What follows a keyword that stands once in keepalived's configuration."""
    (found,) = [line for line in lines(rendered, host, KEEPALIVED) if line.split()[0] == keyword]
    return found.partition(" ")[2]


def servers(rendered: Rendered, host: str) -> list[str]:
    return [line for line in section(rendered, host, HAPROXY, "backend api_servers") if line.startswith("server ")]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("first", "192.0.2.10:6443"),
        ("alone", "192.0.2.10:6443"),
        ("ipv6", "[2001:db8::1:ab10]:6443"),
        ("other_ports", "192.0.2.10:8443"),
    ],
)
def test_haproxy_listens_at_the_virtual_address_alone(rendered: Rendered, host: str, address: str) -> None:
    binds = [line for line in lines(rendered, host, HAPROXY) if line.startswith("bind ")]
    health = 9 if host == "other_ports" else 8405
    assert binds == [f"bind {address} transparent", f"bind 127.0.0.1:{health}"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (
            "first",
            ["server master-1 192.0.2.11:6443", "server master-2 192.0.2.12:6443", "server master-3 192.0.2.13:6443"],
        ),
        ("alone", ["server master-1 192.0.2.11:6443"]),
        (
            "ipv6",
            [f"server master-{number} [2001:db8::1{number}]:6443" for number in (1, 2, 3)],
        ),
        ("other_ports", [f"server master-{number} 192.0.2.1{number}:16443" for number in (1, 2, 3)]),
        ("strange_names", ["server root_master_1 192.0.2.11:6443", "server master_2.example.com 192.0.2.12:6443"]),
    ],
)
def test_every_api_server_is_a_backend(rendered: Rendered, host: str, expected: list[str]) -> None:
    assert servers(rendered, host) == expected


def test_haproxy_is_the_same_on_every_master(rendered: Rendered) -> None:
    assert rendered["first"][HAPROXY] == rendered["second"][HAPROXY] == rendered["third"][HAPROXY]


def test_api_servers_have_to_be_ready(rendered: Rendered) -> None:
    backend = section(rendered, "first", HAPROXY, "backend api_servers")
    assert "option httpchk GET /readyz" in backend
    assert "http-check expect status 200,401" in backend


def test_api_servers_may_just_have_to_accept_connections(rendered: Rendered) -> None:
    backend = section(rendered, "tcp", HAPROXY, "backend api_servers")
    assert [line for line in backend if "http" in line] == []
    (default,) = [line for line in backend if line.startswith("default-server ")]
    assert "check-ssl verify none" in default


def test_sessions_of_a_dead_api_server_are_closed(rendered: Rendered) -> None:
    backend = section(rendered, "first", HAPROXY, "backend api_servers")
    (default,) = [line for line in backend if line.startswith("default-server ")]
    assert "inter 1s" in default
    assert default.endswith("on-marked-down shutdown-sessions")
    assert "option redispatch 1" in backend


def test_nothing_is_shown_to_the_network(rendered: Rendered) -> None:
    text = "\n".join(lines(rendered, "first", HAPROXY))
    assert "stats enable" not in text
    assert re.findall(r"stats socket (\S+)", text) == ["/run/groundplane-haproxy/admin.sock"]
    assert section(rendered, "first", HAPROXY, "frontend health") == [
        "mode http",
        "bind 127.0.0.1:8405",
        "timeout client 2s",
        "monitor-uri /healthz",
    ]


def test_times_and_limits_of_haproxy_are_the_given_ones(rendered: Rendered) -> None:
    text = "\n".join(lines(rendered, "other_times", HAPROXY))
    assert re.findall(r"timeout connect (\S+)", text) == ["4s"]
    assert re.findall(r"timeout (?:client|server) (60s)", text) == ["60s", "60s"]
    assert re.findall(r" inter (\S+)", text) == ["3s"]
    assert re.findall(r"^hard-stop-after (\S+)", text, re.MULTILINE) == ["5s"]
    assert re.findall(r"^maxconn (\S+)", text, re.MULTILINE) == ["100"]


@pytest.mark.parametrize(
    ("host", "peers"),
    [
        ("first", ["192.0.2.12", "192.0.2.13"]),
        ("second", ["192.0.2.11", "192.0.2.13"]),
        ("third", ["192.0.2.11", "192.0.2.12"]),
        ("ipv6", ["2001:db8::11", "2001:db8::13"]),
    ],
)
def test_masters_speak_to_each_other_alone(rendered: Rendered, host: str, peers: list[str]) -> None:
    assert block(rendered, host, "unicast_peer") == peers
    assert value(rendered, host, "unicast_src_ip") == HOSTS[host]["__cluster_node"]["address"]


def test_a_master_that_does_not_know_a_new_one_yet_listens_to_it(rendered: Rendered) -> None:
    assert not [line for line in lines(rendered, "first", KEEPALIVED) if "check_unicast" in line]


@pytest.mark.parametrize("host", ["multicast", "multicast_on_the_command_line", "alone"])
def test_without_peers_there_is_no_word_of_unicast(rendered: Rendered, host: str) -> None:
    assert "unicast" not in rendered[host][KEEPALIVED]["content"]


@pytest.mark.parametrize("host", HOSTS)
def test_no_master_is_born_to_hold_the_address_or_takes_it_back(rendered: Rendered, host: str) -> None:
    assert value(rendered, host, "state") == "BACKUP"
    assert "nopreempt" in lines(rendered, host, KEEPALIVED)
    assert value(rendered, host, "vrrp_version") == "3"


def test_the_order_of_the_inventory_is_the_order_of_succession(rendered: Rendered) -> None:
    priorities = [int(value(rendered, host, "priority")) for host in ("first", "second", "third")]
    assert priorities == [250, 240, 230]
    assert value(rendered, "many_masters", "priority") == "1"


@pytest.mark.parametrize(
    ("host", "address"),
    [("first", "192.0.2.10/32"), ("ipv6", "2001:db8::1:ab10/128 preferred_lft 0")],
)
def test_the_virtual_address_brings_no_network_along(rendered: Rendered, host: str, address: str) -> None:
    assert block(rendered, host, "virtual_ipaddress") == [address]


@pytest.mark.parametrize(
    ("host", "identifier"),
    [
        ("first", "10"),
        ("second", "10"),
        ("ipv6", str(0x10)),
        ("vip_ending_in_zero", "255"),
        ("ipv6_vip_ending_in_nothing", "255"),
    ],
)
def test_the_virtual_router_id_comes_from_the_virtual_address(rendered: Rendered, host: str, identifier: str) -> None:
    assert value(rendered, host, "virtual_router_id") == identifier


def test_times_of_keepalived_are_the_given_ones(rendered: Rendered) -> None:
    assert value(rendered, "first", "advert_int") == "0.5"
    assert value(rendered, "other_times", "advert_int") == "1.25"
    assert value(rendered, "other_times", "interval") == "3"


def test_keepalived_runs_the_script_that_asks_haproxy(rendered: Rendered) -> None:
    assert value(rendered, "first", "script") == f'"/usr/bin/bash {CHECK}"'
    assert "enable_script_security" in lines(rendered, "first", KEEPALIVED)
    assert "/dev/tcp/127.0.0.1/9 " in rendered["other_ports"][CHECK]["content"]


@pytest.mark.parametrize(
    ("path", "argv"),
    [(HAPROXY, ["haproxy", "-c", "-f", "%s"]), (KEEPALIVED, ["keepalived", "--config-test", "--use-file", "%s"])],
)
def test_no_configuration_is_written_that_its_program_refuses(rendered: Rendered, path: str, argv: list[str]) -> None:
    assert rendered["first"][path]["validate"] == argv


def test_units_read_these_files(rendered: Rendered) -> None:
    assert f"-f {HAPROXY} " in rendered["first"][HAPROXY_UNIT]["content"]
    assert f"--use-file {KEEPALIVED} " in rendered["first"][KEEPALIVED_UNIT]["content"]


@pytest.mark.parametrize(
    ("host", "node_address", "virtual_address"),
    [("first", "192.0.2.11", "192.0.2.10/32"), ("ipv6", "2001:db8::12", "2001:db8::1:ab10/128")],
)
def test_keepalived_waits_for_the_address_of_the_node_and_leaves_none_behind(
    rendered: Rendered, host: str, node_address: str, virtual_address: str
) -> None:
    unit = lines(rendered, host, KEEPALIVED_UNIT)
    (before,) = [line for line in unit if line.startswith("ExecStartPre=")]
    (after,) = [line for line in unit if line.startswith("ExecStopPost=")]
    assert f" to {node_address})" in before
    assert f"ip address delete {virtual_address} dev eth0 " in after


@pytest.mark.parametrize("unit", [HAPROXY_UNIT, KEEPALIVED_UNIT])
def test_systemd_never_gives_up(rendered: Rendered, unit: str) -> None:
    assert {"Restart=always", "StartLimitIntervalSec=0"} <= set(lines(rendered, "first", unit))


@pytest.mark.parametrize("host", HOSTS)
def test_every_file_bears_the_marker_of_this_role_in_its_first_line(rendered: Rendered, host: str) -> None:
    unmarked = [
        path
        for path, entry in rendered[host].items()
        if not entry["content"].startswith("# Managed by groundplane.kubeadm, role load_balancer;")
    ]
    assert unmarked == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [("HTTP/1.1 200 OK\r\n\r\n", 0), ("HTTP/1.1 503 Service Unavailable\r\n\r\n", 1), ("", 1), (None, 1)],
)
def test_only_an_answer_counts_as_life(rendered: Rendered, tmp_path: Path, answer: str | None, code: int) -> None:
    """The script against a listener of its own; None stands for a stopped process: accepted, but not answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _peer = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall((answer or "").encode())

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        script = rendered["first"][CHECK]["content"].replace("/8405 ", f"/{listener.getsockname()[1]} ")
        (tmp_path / "check").write_text(script, encoding="utf-8")
        run = subprocess.run([shutil.which("bash") or "bash", str(tmp_path / "check")], check=False, timeout=10)
    assert run.returncode == code
