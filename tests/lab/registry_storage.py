# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills the storage of the lab's registry, through a registry of our own that runs only meanwhile."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.process import LabError, run, wait_until

PATIENCE_SECONDS = 20.0


class StoredImages:
    """Which recipe each image in a registry's storage was made by."""

    def __init__(self, storage: Path) -> None:
        """Look at the storage in this folder."""
        self._repositories = storage / "docker" / "registry" / "v2" / "repositories"
        self._notes = storage / "recipes"

    def holds(self, repository: str, tag: str, recipe: str) -> bool:
        """Tell whether the tag points to the image that this recipe made."""
        note, link = self._note(repository, tag), self._link(repository, tag)
        if not note.is_file() or not link.is_file():
            return False
        return bool(json.loads(note.read_text()) == {"recipe": recipe, "digest": link.read_text()})

    def remember(self, repository: str, tag: str, recipe: str, digest: str) -> None:
        """Note by which recipe an image was made, after checking that it has arrived."""
        link = self._link(repository, tag)
        found = link.read_text() if link.is_file() else "nothing"
        if found != digest:
            raise LabError(f"The registry holds {found} as {repository}:{tag}; expected the pushed {digest}.")
        note = self._note(repository, tag)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"recipe": recipe, "digest": digest}))

    def _link(self, repository: str, tag: str) -> Path:
        return self._repositories / repository / "_manifests" / "tags" / tag / "current" / "link"

    def _note(self, repository: str, tag: str) -> Path:
        return self._notes / repository / f"{tag}.json"


def configuration(storage: Path, address: str) -> str:
    """Return the configuration of a registry: JSON, which is YAML too."""
    return json.dumps(
        {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(storage)}},
            "http": {"addr": address},
        }
    )


@contextmanager
def serving(storage: Path, workshop: Path) -> Iterator[str]:
    """Serve a storage on this machine only, and give the address."""
    address = f"127.0.0.1:{_free_port()}"
    configuration_file, log_file = workshop / "registry.json", workshop / "registry.log"
    configuration_file.write_text(configuration(storage, address))
    # A registry must not outlive a build that was killed.
    command = ["setpriv", "--pdeathsig", "TERM", "docker-registry", "serve", str(configuration_file)]
    with log_file.open("w") as log:
        registry = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        if not wait_until(lambda: registry.poll() is not None or _answers(address), seconds=PATIENCE_SECONDS):
            raise LabError(f"The registry gave no answer on {address} within {PATIENCE_SECONDS:g} s.")
        if registry.poll() is not None:
            raise LabError(f"The registry ended with {registry.returncode} at once: {log_file.read_text()}")
        yield address
    finally:
        registry.terminate()
        registry.wait()


def push(layout: Path, tag: str, target: str) -> None:
    """Copy an image from an OCI layout into a registry without TLS, byte for byte."""
    options = ["--quiet", "--preserve-digests", "--dest-tls-verify=false"]
    run(["skopeo", "--insecure-policy", "copy", *options, f"oci:{layout}:{tag}", f"docker://{target}"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{address}/v2/", timeout=2):
            return True
    except OSError:
        return False
