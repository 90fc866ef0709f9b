# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of nodes: a minimal Debian with SSH and Python, as a cloud provider would hand it over.

Two layers, each kept by the digest of its recipe: the packages of a release, and the few files of the lab above them.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import archive
from tests.lab.archive import Archive
from tests.lab.podman import Podman
from tests.lab.process import run
from tests.lab.progress import Report, step
from tests.lab.settings import APT_PROXY_PORT, HOST_ADDRESS, LABEL

WORK_FOLDER_PREFIX = "groundplane-lab-image-"

RELEASES = ("trixie", "bookworm")
CONTAINERD_VERSIONS = ("1.7", "2.x")

#: What a cloud image of Debian has and Ansible, kubeadm and people rely on. Nothing of Kubernetes: installing that
#: is what is under test.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "debian-archive-keyring",
    "iproute2",
    "iputils-ping",
    "kmod",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "systemd",
    "systemd-sysv",
)

#: What a machine must not share with others, each node makes its own of it when it first starts; and the addresses
#: that mmdebstrap worked with, in whose place the lab writes those that nodes use.
HOOKS = (
    'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname" "$1/etc/hosts" "$1/etc/resolv.conf" "$1/var/lib/dbus/machine-id"',
    'truncate --size 0 "$1/etc/machine-id"',
    'rm "$1"/etc/apt/sources.list.d/0000base.sources "$1"/etc/apt/apt.conf.d/99mmdebstrap',
)

#: A node has no terminal; binary formats are the kernel's, hence the host's; and maintenance at random times would make
#: two equal runs different.
MASKED_UNITS = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "getty@tty1.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
)

#: A machine's mounts are shared (kubelet relies on it), a container's are private. podman mounts its own /etc/hostname,
#: over which no tool can rename a new file, so the node gets a plain one when it first starts. The default route is
#: there for Services: a packet of the node itself to a ClusterIP needs a route before kube-proxy can redirect it. Where
#: it leads, the host's guard drops whatever is not meant for the lab.
INIT = """\
#!/bin/sh
set -eu
mount --make-rshared /
# Of a node that was just killed, the network may still be there.
ip address replace "$LAB_ADDRESS" dev eth0
ip route replace default via "$LAB_GATEWAY"
if [ -d /proc/sys/net/ipv6/conf/eth0 ]; then
    echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6
    # Without the question whether somebody else has the address, before whose end no service could listen there.
    ip address replace "$LAB_ADDRESS_6" dev eth0 nodad
    ip -6 route replace default via "$LAB_GATEWAY_6"
fi
name=$(cat /etc/hostname)
umount /etc/hostname
if [ ! -s /etc/hostname ]; then
    echo "$name" > /etc/hostname
    printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n::1 localhost ip6-localhost ip6-loopback\\n' "$name" > /etc/hosts
    install --directory --mode 0700 /root/.ssh
    echo "$LAB_AUTHORIZED_KEY" > /root/.ssh/authorized_keys
fi
unset LAB_ADDRESS LAB_GATEWAY LAB_ADDRESS_6 LAB_GATEWAY_6 LAB_AUTHORIZED_KEY
exec /sbin/init "$@"
"""
INIT_PATH = "/usr/local/sbin/lab-init"

HOST_KEYS_UNIT = """\
[Unit]
Description=Host keys of the SSH server
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""

SSHD_SETTINGS = "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\n"


#: The kernel's log is the same in all nodes and tells of the host's doings.
JOURNAL_SETTINGS = "[Journal]\nReadKMsg=no\n"


@dataclass(frozen=True)
class ContainerdChoice:
    """Which further release a node may take which packages from, so that apt offers the wanted containerd."""

    release: str
    packages: Sequence[str]


#: Debian has containerd 1.6 in bookworm, 1.7 in trixie, 2.1 in forky. forky's runc needs a newer libc than bookworm's.
CONTAINERD_CHOICES = {
    ("trixie", "1.7"): None,
    ("trixie", "2.x"): ContainerdChoice("forky", ("containerd", "runc")),
    ("bookworm", "1.7"): ContainerdChoice("trixie", ("containerd",)),
    ("bookworm", "2.x"): ContainerdChoice("forky", ("containerd",)),
}


@dataclass(frozen=True)
class Recipe:
    """Everything a node image is made from."""

    release: str
    containerd: str
    archives: Sequence[Archive]
    further_archives: Sequence[Archive]
    apt_settings: str
    nameservers: Sequence[str]

    @property
    def base_reference(self) -> str:
        """Name of the image that holds the packages."""
        parts = [self.apt_settings, *PACKAGES, *HOOKS, *(item.stanza() for item in self.archives)]
        return f"localhost/groundplane-lab-base:{self.release}-{_digest(parts)}"

    @property
    def reference(self) -> str:
        """Name of the image that nodes are started from."""
        files = [f"{path} {content}" for path, content in sorted(self.files().items())]
        tag = f"{self.release}-containerd-{self.containerd}-{_digest([self.base_reference, *files, *MASKED_UNITS])}"
        return f"localhost/groundplane-lab-node:{tag}"

    def files(self) -> dict[str, str]:
        """Files of the lab in a node; paths are absolute."""
        return {
            **self.shared_files(),
            INIT_PATH: INIT,
            "/etc/systemd/system/lab-host-keys.service": HOST_KEYS_UNIT,
            "/etc/systemd/journald.conf.d/lab.conf": JOURNAL_SETTINGS,
        }

    def shared_files(self) -> dict[str, str]:
        """Files that do not depend on what the node is: a container or a virtual machine."""
        files = {
            "/etc/ssh/sshd_config.d/lab.conf": SSHD_SETTINGS,
            "/etc/resolv.conf": "".join(f"nameserver {address}\n" for address in self.nameservers),
            "/etc/apt/sources.list": "",
            "/etc/apt/sources.list.d/debian.sources": archive.sources_file(self.archives),
            "/etc/apt/apt.conf.d/90lab": apt_proxy_settings() + self.apt_settings,
        }
        choice = CONTAINERD_CHOICES[self.release, self.containerd]
        if choice:
            files["/etc/apt/sources.list.d/containerd.sources"] = archive.sources_file(self.further_archives)
            files["/etc/apt/preferences.d/containerd"] = pins(choice)
        return files


def apt_proxy_settings() -> str:
    """Archives come through the caching proxy, the lab's own repository straight from its web server."""
    return (
        f'Acquire::http::Proxy "http://{HOST_ADDRESS}:{APT_PROXY_PORT}";\n'
        f'Acquire::http::Proxy::{HOST_ADDRESS} "DIRECT";\n'
    )


def pins(choice: ContainerdChoice) -> str:
    """Offer the named packages of the further release and nothing else of it."""
    return (
        f"Package: *\nPin: release n={choice.release}*\nPin-Priority: -1\n\n"
        f"Package: {' '.join(choice.packages)}\nPin: release n={choice.release}*\nPin-Priority: 990\n"
    )


def recipe_for(release: str, containerd: str, nameservers: Sequence[str]) -> Recipe:
    """Recipe of the image for a release and a containerd version, from this machine's mirrors."""
    choice = CONTAINERD_CHOICES[release, containerd]
    further = archive.archives_for(choice.release) if choice else []
    return Recipe(release, containerd, archive.archives_for(release), further, archive.carried_settings(), nameservers)


def ensure_image(recipe: Recipe, podman: Podman, report: Report) -> str:
    """Build the image of a recipe unless it is there, and return its name."""
    present = podman.images()
    if recipe.reference not in present:
        if recipe.base_reference not in present:
            with step(report, f"Making the base image of {recipe.release}"):
                _build_base(recipe, podman)
        with step(report, f"Making the node image {recipe.reference}"):
            _build(recipe, podman)
        for reference in outdated(recipe, podman.images()):
            podman.try_to_remove_image(reference)
    return recipe.reference


def outdated(recipe: Recipe, references: Iterable[str]) -> list[str]:
    """Images of the same kind that were made from an earlier recipe."""
    current = (recipe.reference, recipe.base_reference)
    families = tuple(reference.rpartition("-")[0] + "-" for reference in current)
    return [reference for reference in references if reference.startswith(families) and reference not in current]


def _build_base(recipe: Recipe, podman: Podman) -> None:
    with work_folder(WORK_FOLDER_PREFIX) as folder:
        tarball = folder / "base.tar"
        install(recipe, PACKAGES, tarball, folder)
        podman("import", "--quiet", "--change", f"LABEL {LABEL}=image", str(tarball), recipe.base_reference)


def install(recipe: Recipe, packages: Sequence[str], target: Path, folder: Path) -> None:
    """Unpack packages of a recipe's release into a folder or a tar file, with the help of a work folder."""
    sources = folder / "base.sources"
    sources.write_text(archive.sources_file(recipe.archives))
    run(
        [
            *archive.mmdebstrap_command(recipe.apt_settings),
            "--variant=minbase",
            f"--include={','.join(packages)}",
            *(f"--customize-hook={hook}" for hook in HOOKS),
            recipe.release,
            str(target),
            str(sources),
        ],
        environment={"TMPDIR": str(folder)},
    )


def _build(recipe: Recipe, podman: Podman) -> None:
    with work_folder(WORK_FOLDER_PREFIX) as folder:
        root = folder / "root"
        for name, content in recipe.files().items():
            file = root / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            file.chmod(0o755 if name == INIT_PATH else 0o644)
        units = root / "etc/systemd/system"
        for unit in MASKED_UNITS:
            (units / unit).symlink_to("/dev/null")
        (units / "multi-user.target.wants").mkdir()
        (units / "multi-user.target.wants/lab-host-keys.service").symlink_to("../lab-host-keys.service")
        instructions = folder / "Containerfile"
        instructions.write_text(f"FROM {recipe.base_reference}\nCOPY root/ /\nLABEL {LABEL}=image\n")
        podman("build", "--quiet", "--pull=never", "--file", str(instructions), "--tag", recipe.reference, str(folder))


@contextmanager
def work_folder(prefix: str) -> Iterator[Path]:
    """Give a folder of a new name, so that a tool which outlived a killed run cannot write into it.

    It lies outside the cache, because apt downloads as a user who may not look into root's home. What such a tool is
    still writing cannot be removed now, and is by a later build.
    """
    for left_over in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
