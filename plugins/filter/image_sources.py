# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter image_sources."""

from __future__ import annotations

DOCUMENTATION = r"""
name: image_sources
author: groundplane.kubeadm contributors (@groundplane)
version_added: 1.0.0
short_description: Places from which containerd pulls an image
description:
  - Tells which mirrors, in which order, and at last which registry containerd asks for the images of a repository, in
    the form that M(groundplane.kubeadm.preflight_info) takes.
  - Certificates and keys of clients are left out; that a mirror wants one is said.
options:
  _input:
    description: Repository of images, such as V(registry.k8s.io) or V(registry.example.com/kubernetes).
    type: str
    required: true
  mirrors:
    description: Registry to its list of mirrors, the variable C(containerd_registry_mirrors).
    type: dict
    required: true
positional: mirrors
"""

EXAMPLES = r"""
- name: Show where images come from
  ansible.builtin.debug:
    msg: "{{ 'registry.k8s.io' | groundplane.kubeadm.image_sources(containerd_registry_mirrors) }}"
"""

RETURN = r"""
_value:
  description: One entry for each place, in the order in which they are asked.
  type: list
  elements: dict
  sample:
    - url: https://mirror.example.com
    - url: https://registry.k8s.io
"""

from typing import Any, Callable, Mapping

_DOCKER_HUB = "docker.io"
# The name under which Docker Hub answers.
_DOCKER_HUB_HOST = "registry-1.docker.io"
# Mirrors for every registry that has no entry of its own.
_DEFAULT = "_default"


def image_sources(repository: str, mirrors: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Places for the images of a repository."""
    first = repository.partition("/")[0]
    registry = first if "." in first or ":" in first or first == "localhost" else _DOCKER_HUB
    chosen = mirrors.get(registry, mirrors.get(_DEFAULT, []))
    own = _DOCKER_HUB_HOST if registry == _DOCKER_HUB else registry
    return [*(_source(mirror) for mirror in chosen), {"url": f"https://{own}"}]


def _source(mirror: Mapping[str, Any]) -> dict[str, Any]:
    """A mirror without what is secret of it."""
    source = {"url": mirror["url"]}
    source.update({name: mirror[name] for name in ("ca", "skip_verify", "override_path") if mirror.get(name)})
    if mirror.get("client_certificate"):
        source["client_certificate"] = True
    return source


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filters by name."""
        return {"image_sources": image_sources}
