# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the images of a cluster, under their official names, from the compiled programs.

Paths, users and commands inside the images are those of the official ones as far as kubeadm, the manifests and
the programs themselves rely on them.
"""

from __future__ import annotations

import enum
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.lab import manifests, oci, programs, recipes, registry_storage, rootfs
from tests.lab.oci import CAP_NET_BIND_SERVICE, Configuration, Entry
from tests.lab.packages import debian_architecture
from tests.lab.parts import Part
from tests.lab.process import LabError, run
from tests.lab.progress import Report, step
from tests.lab.recipes import UNFINISHED_PREFIX
from tests.lab.settings import Paths
from tests.lab.versions import DEBIAN_SUITE, kubernetes_version

#: The version of busybox in Debian's release of versions.DEBIAN_SUITE.
TEST_IMAGE = "docker.io/library/busybox:1.37"

#: The user "nonroot" of the minimal base images that official images build upon.
NONROOT = "65532:65532"

#: Numeric user of Calico's controllers, which their manifest forbids to be root.
CALICO_USER = "999"

#: Plugins of others that Calico's installer brings to the nodes.
CARRIED_CNI_PLUGINS = ("bandwidth", "host-local", "loopback", "portmap", "tuning")

START_RUNIT = Path(__file__).resolve().parent / "calico" / "start_runit"

RECIPE_SOURCES = (Path(__file__), Path(oci.__file__), Path(rootfs.__file__))


class Base(enum.Enum):
    """What lies below an image's own files."""

    NOTHING = "nothing"
    DEBIAN = "debian"
    BUSYBOX = "busybox"


@dataclass(frozen=True)
class Image:
    """An image before it is made."""

    reference: str
    entries: tuple[Entry, ...]
    configuration: Configuration
    base: Base = Base.NOTHING

    @property
    def repository(self) -> str:
        """Path of the image in a registry that mirrors its official one."""
        return split_reference(self.reference)[1]

    @property
    def tag(self) -> str:
        """Tag of the image."""
        return split_reference(self.reference)[2]


def split_reference(reference: str) -> tuple[str, str, str]:
    """Split registry.k8s.io/coredns/coredns:v1 into the registry's host, the repository and the tag."""
    host, _slash, path = reference.partition("/")
    repository, _colon, tag = path.partition(":")
    if not tag:
        raise LabError(f"The image '{reference}' has no tag; expected host/repository:tag.")
    return host, repository, tag


def kubernetes_images(paths: Paths) -> list[Image]:
    """Images that kubeadm asks for, with the tags that it names itself."""
    kubeadm = programs.program(paths, programs.KUBERNETES, "kubeadm")
    listing = run([str(kubeadm), "config", "images", "list", "--kubernetes-version", kubernetes_version()])
    return [_kubernetes_image(paths, reference) for reference in listing.split()]


def flannel_images(paths: Paths) -> list[Image]:
    """Images that flannel's manifest names."""
    return [_flannel_image(paths, reference) for reference in manifests.images_of(manifests.flannel_manifest(paths))]


def calico_images(paths: Paths) -> list[Image]:
    """Images of Calico that canal's manifest names."""
    return [_calico_image(paths, reference) for reference in manifests.images_of(manifests.canal_manifest(paths))]


def metallb_images(paths: Paths) -> list[Image]:
    """Images that MetalLB's manifest names."""
    return [_metallb_image(paths, reference) for reference in manifests.images_of(manifests.metallb_manifest(paths))]


def test_image() -> Image:
    """Return the image for end-to-end tests: a shell, a web server and clients."""
    return Image(TEST_IMAGE, (), Configuration(command=("sh",)), Base.BUSYBOX)


def base_images(paths: Paths) -> list[Image]:
    """Images that every set of nodes needs."""
    return [*kubernetes_images(paths), *flannel_images(paths), test_image()]


def ensure_images(paths: Paths, parts: Collection[Part], report: Report) -> None:
    """Make the images of these parts that the registry does not hold as their recipes of today would make them."""
    images_of = {Part.BASE: base_images, Part.CANAL: calico_images, Part.METALLB: metallb_images}
    images = [image for part in parts for image in images_of[part](paths)]
    stored = registry_storage.StoredImages(paths.registry)
    missing = [image for image in images if not stored.holds(image.repository, image.tag, recipe_of(image))]
    if not missing:
        return
    with tempfile.TemporaryDirectory(dir=paths.root, prefix=UNFINISHED_PREFIX) as temporary:
        maker = _Maker(Path(temporary), report)
        with registry_storage.serving(paths.registry, Path(temporary)) as address:
            for position, image in enumerate(missing, start=1):
                with step(report, f"images: {image.reference} ({position} of {len(missing)})"):
                    layout, digest = maker.make(image)
                    registry_storage.push(layout, image.tag, f"{address}/{image.repository}:{image.tag}")
                    stored.remember(image.repository, image.tag, recipe_of(image), digest)


class _Maker:
    """Makes images; a layer that several of them share is made once."""

    def __init__(self, workshop: Path, report: Report) -> None:
        self._workshop = workshop
        self._layout = workshop / "layout"
        self._rootfs = workshop / "rootfs.tar"
        self._report = report
        self._architecture = debian_architecture()
        self._bases: dict[Base, list[oci.Layer]] = {Base.NOTHING: []}

    def make(self, image: Image) -> tuple[Path, str]:
        """Return the layout that holds the image, and the digest of its manifest."""
        layers = list(self._base_layers(image.base))
        if image.entries:
            layers.append(oci.write_layer(oci.blobs_folder(self._layout), image.entries))
        digest = oci.write_image(self._layout, image.tag, layers, image.configuration, self._architecture)
        return self._layout, digest

    def _base_layers(self, base: Base) -> list[oci.Layer]:
        if base not in self._bases:
            self._ensure_rootfs()
            blobs = oci.blobs_folder(self._layout)
            if base is Base.DEBIAN:
                layer = oci.rewrite_layer(blobs, self._rootfs, without=(rootfs.BUSYBOX,))
            else:
                layer = oci.write_layer(blobs, busybox_entries(*self._busybox()))
            self._bases[base] = [layer]
        return self._bases[base]

    def _busybox(self) -> tuple[Path, list[str]]:
        """Return busybox, taken out of the root file system, and the commands that it says it knows."""
        program = self._workshop / "busybox"
        program.write_bytes(rootfs.busybox_program(self._rootfs))
        program.chmod(0o755)
        return program, run([str(program), "--list"]).split()

    def _ensure_rootfs(self) -> None:
        if not self._rootfs.exists():
            with step(self._report, f"images: root file system of Debian {DEBIAN_SUITE}"):
                rootfs.make_rootfs(self._rootfs)


def busybox_entries(program: Path, commands: list[str]) -> list[Entry]:
    """Files of the test image: busybox under the names of its commands, and the accounts they look up."""
    return [
        Entry("bin/busybox", program),
        *(Entry(f"bin/{command}", link_target="busybox") for command in commands if command != "busybox"),
        Entry("etc/group", b"root:x:0:\nnobody:x:65534:\n", mode=0o644),
        Entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", mode=0o644),
        Entry("root", is_folder=True, mode=0o700),
        Entry("tmp", is_folder=True, mode=0o1777),
    ]


def recipe_of(image: Image) -> str:
    """Digest of what an image is made of; a compiled program's path names its version and recipe."""
    return recipes.digest([repr(image), DEBIAN_SUITE, debian_architecture(), *RECIPE_SOURCES])


def _kubernetes_image(paths: Paths, reference: str) -> Image:
    repository = split_reference(reference)[1]

    def command(group: programs.Group, *names: str) -> tuple[Entry, ...]:
        return tuple(Entry(f"usr/local/bin/{name}", programs.program(paths, group, name)) for name in names)

    if repository == "pause":
        pause = Entry("pause", programs.pause_program(paths))
        return Image(reference, (pause,), Configuration(entrypoint=("/pause",), user="65535:65535"))
    if repository == "etcd":
        return Image(reference, command(programs.ETCD, "etcd", "etcdctl", "etcdutl"), Configuration(command=("etcd",)))
    if repository == "coredns/coredns":
        program = programs.program(paths, programs.COREDNS, "coredns")
        entry = Entry("coredns", program, capabilities=(CAP_NET_BIND_SERVICE,))
        return Image(reference, (entry,), Configuration(entrypoint=("/coredns",), user=NONROOT))
    base = Base.DEBIAN if repository == "kube-proxy" else Base.NOTHING
    # Run as a user other than root, only this program of the control plane may bind a port below 1024.
    capabilities = (CAP_NET_BIND_SERVICE,) if repository == "kube-apiserver" else ()
    program = programs.program(paths, programs.KUBERNETES, repository)
    entry = Entry(f"usr/local/bin/{repository}", program, capabilities=capabilities)
    return Image(reference, (entry,), Configuration(command=(f"/usr/local/bin/{repository}",)), base)


def _flannel_image(paths: Paths, reference: str) -> Image:
    repository = split_reference(reference)[1]
    if repository == "flannel-io/flannel":
        entry = Entry("opt/bin/flanneld", programs.program(paths, programs.FLANNEL, "flanneld"))
        return Image(reference, (entry,), Configuration(entrypoint=("/opt/bin/flanneld",)), Base.DEBIAN)
    if repository == "flannel-io/flannel-cni-plugin":
        entry = Entry("flannel", programs.program(paths, programs.FLANNEL_CNI_PLUGIN, "flannel"))
        return Image(reference, (entry,), Configuration(command=("sh",)), Base.BUSYBOX)
    raise LabError(f"flannel's manifest names the image {reference}, which the lab cannot make; add it to images.py.")


def _calico_image(paths: Paths, reference: str) -> Image:
    repository = split_reference(reference)[1]
    entries: tuple[Entry, ...]

    def program(name: str) -> Path:
        return programs.program(paths, programs.CALICO, name)

    if repository == "calico/node":
        # A folder named bin would take the place of Debian's link to usr/bin.
        entries = (
            Entry("usr/bin/calico-node", program("calico-node")),
            Entry("usr/sbin/start_runit", START_RUNIT.read_bytes()),
        )
        return Image(reference, entries, Configuration(command=("start_runit",)), Base.DEBIAN)
    if repository == "calico/cni":
        # One program under two names: it looks at what it was called.
        own = {"install": "install", "calico": "calico", "calico-ipam": "calico"}
        carried = {name: programs.program(paths, programs.CNI_PLUGINS, name) for name in CARRIED_CNI_PLUGINS}
        files = {**{name: program(built) for name, built in own.items()}, **carried}
        entries = (
            *(Entry(f"opt/cni/bin/{name}", path) for name, path in files.items()),
            Entry("tmp", is_folder=True, mode=0o1777),
        )
        return Image(reference, entries, Configuration(command=("/opt/cni/bin/install",)))
    if repository == "calico/kube-controllers":
        entries = (
            Entry("usr/bin/kube-controllers", program("kube-controllers")),
            Entry("usr/bin/check-status", program("check-status")),
            # The first writes what the second reads.
            Entry("status", is_folder=True, mode=0o777),
        )
        return Image(reference, entries, Configuration(entrypoint=("/usr/bin/kube-controllers",), user=CALICO_USER))
    raise LabError(f"canal's manifest names the image {reference}, which the lab cannot make; add it to images.py.")


def _metallb_image(paths: Paths, reference: str) -> Image:
    name = split_reference(reference)[1].rpartition("/")[2]
    if name not in ("controller", "speaker"):
        raise LabError(
            f"MetalLB's manifest names the image {reference}, which the lab cannot make; add it to images.py."
        )
    entry = Entry(name, programs.program(paths, programs.METALLB, name))
    return Image(reference, (entry,), Configuration(entrypoint=(f"/{name}",)))
