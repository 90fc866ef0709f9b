# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter containerd_registry_files."""

from __future__ import annotations

DOCUMENTATION = r"""
name: containerd_registry_files
author: groundplane.kubeadm contributors (@groundplane)
version_added: 1.0.0
short_description: Files that make containerd pull from mirrors
description:
  - Turns the variable C(containerd_registry_mirrors) into the files below containerd's C(config_path), in the form that
    M(groundplane.kubeadm.file_set) takes.
  - Every registry gets a C(hosts.toml) that names its mirrors in order; certificates and keys become files beside it.
options:
  _input:
    description: Registry to its list of mirrors.
    type: dict
    required: true
  directory:
    description: The folder that containerd knows as C(config_path).
    type: str
    required: true
  header:
    description: First line of every file, without comment sign.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the mirrors
  groundplane.kubeadm.file_set:
    files: "{{ mirrors | groundplane.kubeadm.containerd_registry_files('/etc/containerd/certs.d', header='Ours') }}"
    owned_directories: [/etc/containerd/certs.d]
    marker: Ours
  vars:
    mirrors:
      docker.io:
        - url: https://mirror.example.com
"""

RETURN = r"""
_value:
  description: Files with path, mode and either content or secret_content.
  type: list
  elements: dict
"""

from typing import Any, Callable, Mapping

from ansible_collections.groundplane.kubeadm.plugins.filter.to_toml import to_toml

_CAPABILITIES = ("pull", "resolve")
#: Option of a mirror to the suffix of its file and to whether the content is secret.
_PEM_OPTIONS = {
    "ca": ("ca.crt", False),
    "client_certificate": ("client.crt", False),
    "client_key": ("client.key", True),
}


def containerd_registry_files(
    mirrors: Mapping[str, list[dict[str, Any]]], directory: str, header: str
) -> list[dict[str, str]]:
    """Files for every registry, in a stable order."""
    return [
        entry
        for registry, hosts in sorted(mirrors.items())
        for entry in _registry_files(f"{directory}/{registry}", hosts, header)
    ]


def _registry_files(folder: str, hosts: list[dict[str, Any]], header: str) -> list[dict[str, str]]:
    """The hosts.toml of one registry and the certificates that it refers to."""
    tables = {}
    files = []
    for number, mirror in enumerate(hosts):
        pem_paths = {option: f"{folder}/mirror-{number}-{_PEM_OPTIONS[option][0]}" for option in _pem_options(mirror)}
        tables[mirror["url"]] = _host_table(mirror, pem_paths)
        files += [_pem_file(path, mirror[option], header, option=option) for option, path in pem_paths.items()]
    text = f"# {header}\n{to_toml({'host': tables})}"
    return [{"path": f"{folder}/hosts.toml", "content": text, "mode": "0644"}, *files]


def _pem_options(mirror: Mapping[str, Any]) -> list[str]:
    return [option for option in _PEM_OPTIONS if mirror.get(option)]


def _host_table(mirror: Mapping[str, Any], pem_paths: Mapping[str, str]) -> dict[str, Any]:
    """What containerd has to know about one mirror."""
    table = {"capabilities": mirror.get("capabilities") or list(_CAPABILITIES)}
    table.update({option: True for option in ("skip_verify", "override_path") if mirror.get(option)})
    if "ca" in pem_paths:
        table["ca"] = pem_paths["ca"]
    if "client_certificate" in pem_paths:
        pair = [pem_paths[option] for option in ("client_certificate", "client_key") if option in pem_paths]
        table["client"] = [pair]
    return table


def _pem_file(path: str, text: str, header: str, *, option: str) -> dict[str, str]:
    """A PEM file; text outside of its blocks, such as the header, is skipped by every reader."""
    secret = _PEM_OPTIONS[option][1]
    content = f"# {header}\n{text.strip()}\n"
    return {"path": path, "mode": "0600", "secret_content" if secret else "content": content}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"containerd_registry_files": containerd_registry_files}
