# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of virtual machines: the Debian of the nodes on a disk, with the distribution's own kernel.

The emulator loads the kernel and its initial file system by itself, so that the disk needs no boot loader and making it
needs no mounts.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab import node_image, recipes
from tests.lab.node_image import HOOKS, work_folder
from tests.lab.process import LabError, run
from tests.lab.progress import Report, step
from tests.lab.settings import Paths

#: Architectures of the machine underneath; another one has other devices and another name for the kernel's package.
ARCHITECTURE = "x86_64"

#: systemd of bookworm does not hand the credential on that tells a machine who it is.
RELEASES = ("trixie",)

WORK_FOLDER_PREFIX = "groundplane-lab-machine-"

#: What a machine has and a container does not: a kernel, what starts it, what looks after its disk.
PACKAGES = (*node_image.PACKAGES, "e2fsprogs", "initramfs-tools", "iptables", "linux-image-cloud-amd64", "sudo", "udev")

UNITS_OFF = (
    # Maintenance at random times would make two equal runs different.
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    # Nobody logs in at the console, and every program costs an emulated machine time.
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
)

#: Space for programs to come; the file takes up no more than its content.
DISK_SIZE = "12G"

#: What a file system would otherwise leave to be written by the machine, once it runs.
DISK_OPTIONS = ("-E", "lazy_itable_init=0,lazy_journal_init=0")

SWAP_MEBIBYTES = 64

ROOT_UUID = "67706c61-6272-4f6f-8000-000000000001"
SWAP_UUID = "67706c61-6273-4776-8000-000000000002"

FSTAB = f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\nUUID={SWAP_UUID} none swap sw 0 0\n"

#: Name of the credential with which the lab tells a machine who it is: assignments for a shell.
CREDENTIAL = "lab.machine"

#: The serial port behind the console's, through which a machine tells the lab its host keys.
HOST_KEYS_PORT = "/dev/ttyS1"
END_OF_HOST_KEYS = "end-of-host-keys"

SET_UP_PATH = "/usr/local/sbin/lab-machine"

#: One key of the cheapest kind: making an RSA key takes an emulated processor long. The name comes last, because it
#: tells that the rest is there.
SET_UP = f"""\
#!/bin/sh
set -eu
if [ ! -s /etc/hostname ]; then
    . "$CREDENTIALS_DIRECTORY/{CREDENTIAL}"
    printf '[Match]\\nName=en* eth*\\n[Network]\\nAddress=%s\\nGateway=%s\\n' \\
        "$address" "$gateway" > /etc/systemd/network/lab.network
    printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n::1 localhost ip6-localhost ip6-loopback\\n' "$name" > /etc/hosts
    install --directory --mode 0700 /root/.ssh
    echo "$authorized_key" > /root/.ssh/authorized_keys
    rm -f /etc/ssh/ssh_host_ed25519_key
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f /etc/ssh/ssh_host_ed25519_key
    echo "$name" > /proc/sys/kernel/hostname
    sync
    echo "$name" > /etc/hostname
fi
{{ cat /etc/ssh/ssh_host_*_key.pub; echo {END_OF_HOST_KEYS}; }} > {HOST_KEYS_PORT}
"""

SET_UP_UNIT_NAME = "lab-machine.service"
SET_UP_UNIT = f"""\
[Unit]
Description=What this machine does not share with others of its image
DefaultDependencies=no
Conflicts=shutdown.target
After=local-fs.target systemd-tmpfiles-setup.service
Before=shutdown.target network-pre.target ssh.service systemd-networkd.service
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
LoadCredential={CREDENTIAL}
ExecStart={SET_UP_PATH}

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class MachineImage:
    """A finished image: what every machine of its kind starts from."""

    folder: Path

    @property
    def disk(self) -> Path:
        """File system of the root, as one raw file."""
        return self.folder / "root.ext4"

    @property
    def kernel(self) -> Path:
        """The distribution's kernel."""
        return self.folder / "vmlinuz"

    @property
    def initial_file_system(self) -> Path:
        """What the kernel starts with, made by the distribution's tools."""
        return self.folder / "initrd.img"


@dataclass(frozen=True)
class Recipe:
    """Everything an image of a machine is made from."""

    node: node_image.Recipe

    @property
    def kind(self) -> str:
        """Name that every image for the same choice has in common."""
        return f"{self.node.release}-containerd-{self.node.containerd}"

    @property
    def digest(self) -> str:
        """Digest of the whole recipe."""
        files = [f"{path} {content}" for path, content in sorted(self.files().items())]
        archives = [item.stanza() for item in self.node.archives]
        disk = [ROOT_UUID, DISK_SIZE, *DISK_OPTIONS]
        return recipes.digest([self.node.apt_settings, *PACKAGES, *HOOKS, *UNITS_OFF, *archives, *files, *disk])

    def files(self) -> dict[str, str]:
        """Files of the lab in a machine; paths are absolute."""
        return {
            **self.node.shared_files(),
            "/etc/fstab": FSTAB,
            f"/etc/systemd/system/{SET_UP_UNIT_NAME}": SET_UP_UNIT,
            SET_UP_PATH: SET_UP,
        }

    def image(self, paths: Paths) -> MachineImage:
        """Where the finished image is kept."""
        return MachineImage(paths.machine_images / self.kind / self.digest[:12])


def ensure_image(recipe: Recipe, paths: Paths, report: Report) -> MachineImage:
    """Build the image of a recipe unless it is there; it takes the place of those from earlier recipes."""
    if platform.machine() != ARCHITECTURE:
        raise LabError(
            f"This machine is of the architecture {platform.machine()}. Virtual machines of the lab need "
            f"{ARCHITECTURE}; make the set without --machines."
        )
    if recipe.node.release not in RELEASES:
        raise LabError(
            f"Virtual machines with {recipe.node.release} were asked for; possible is {', '.join(RELEASES)}. Make the "
            "set without --machines, or with another --os."
        )
    image = recipe.image(paths)
    if not image.folder.is_dir():
        with step(report, f"Making the machine image {recipe.kind}"), recipes.finished_folder(image.folder) as target:
            _build(recipe, MachineImage(target))
    return image


def _build(recipe: Recipe, image: MachineImage) -> None:
    with work_folder(WORK_FOLDER_PREFIX) as folder:
        root = folder / "root"
        node_image.install(recipe.node, PACKAGES, root, folder)
        _add_files(recipe, root)
        for pattern, target in (("vmlinuz-*", image.kernel), ("initrd.img-*", image.initial_file_system)):
            (source,) = (root / "boot").glob(pattern)
            shutil.copyfile(source, target)
        run(["mke2fs", "-q", "-t", "ext4", "-U", ROOT_UUID, *DISK_OPTIONS, "-d", str(root), str(image.disk), DISK_SIZE])


def _add_files(recipe: Recipe, root: Path) -> None:
    for name, content in recipe.files().items():
        file = root / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(content)
        file.chmod(0o755 if name == SET_UP_PATH else 0o644)
    # Younger than /usr: otherwise the first boot renews what the packages have just made.
    for stamp in ("etc/.updated", "var/.updated"):
        (root / stamp).touch()
    units = root / "etc/systemd/system"
    for unit in UNITS_OFF:
        (units / unit).symlink_to("/dev/null")
    wanted = units / "multi-user.target.wants"
    (wanted / SET_UP_UNIT_NAME).symlink_to(f"../{SET_UP_UNIT_NAME}")
    (wanted / "systemd-networkd.service").symlink_to("/usr/lib/systemd/system/systemd-networkd.service")
