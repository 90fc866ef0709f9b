# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that docs/troubleshooting.md explains are messages that the collection gives."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from ansible_collections.groundplane.kubeadm.plugins.module_utils._preflight_report import KNOWN_IDS

from tests.unit.conftest import ROOT
from tests.unit.docs.test_references import prose

PAGE = ROOT / "docs/troubleshooting.md"

#: Words of Ansible, apt, kubelet, kubectl and the pod networks.
OF_OTHERS = {
    "the role 'groundplane.kubeadm.cluster' was not found",
    "couldn't resolve module/action 'groundplane.kubeadm...",
    "Ansible requires the locale encoding to be UTF-8",
    "skipping: no hosts matched",
    "Missing sudo password",
    "UNREACHABLE!",
    "NO_PUBKEY",
    "ErrImagePull",
    "ImagePullBackOff",
    "cni plugin not initialized",
    "Error getting subnet",
    "Loop ... detected",
    "<pending>",
    "The connection to the server localhost:8080 was refused",
    "dial tcp ...: i/o timeout",
    "x509: certificate is valid for ..., not ...",
    "x509: certificate signed by unknown authority",
    "/tmp",
}

#: Messages that are put together from a command and the words for every command.
PUT_TOGETHER = {
    "kubeadm init failed with exit code ...",
    "kubeadm join failed with exit code ...",
    "swapoff ... ended with exit code",
}


def literals(node: ast.AST) -> Iterator[str]:
    """Texts of a program; what is put into them stands as a space between dots."""
    for child in ast.walk(node):
        if isinstance(child, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else " ... " for part in child.values)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value


def texts() -> list[str]:
    """Everything that the collection can say."""
    programs = [text for path in ROOT.glob("plugins/**/*.py") for text in literals(ast.parse(path.read_text("utf-8")))]
    paths = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml")]
    return [" ".join(text.split()) for text in [*programs, *(path.read_text("utf-8") for path in paths)]]


def explained() -> list[str]:
    """What stands between backticks in the first columns of the tables of messages and of checks."""
    found = []
    heading = ""
    for line in prose(PAGE).splitlines():
        if not line.startswith("|"):
            heading = ""
        elif not heading:
            heading = line.split("|")[1].strip()
        elif heading in ("message", "id", "what"):
            found += re.findall(r"`([^`]+)`", line.split("|")[1])
    return found


def is_said(message: str, said: list[str]) -> bool:
    """Whether one text has all parts of a message, or its parts are put together from a found and an expected."""
    parts = [part.strip(" .,:()") for part in re.split(r"\.\.\.|\b[Ee]xpected |\bfound ", message)]
    wanted = [part for part in parts if part]
    return any(all(part in text for part in wanted) for text in said) or (
        "xpected " in message and all(any(part in text for text in said) for part in wanted)
    )


SAID = texts()


@pytest.mark.parametrize("message", explained())
def test_what_is_explained_is_said(message: str) -> None:
    assert message in KNOWN_IDS | OF_OTHERS | PUT_TOGETHER or is_said(message, SAID)


def test_there_is_much_to_explain() -> None:
    assert len(explained()) > 80
    assert len(KNOWN_IDS & set(explained())) > 15


def test_a_message_that_nobody_gives_is_noticed() -> None:
    assert not is_said("this host has eaten all ... of the cluster", SAID)
