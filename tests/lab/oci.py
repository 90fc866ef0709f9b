# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes images in the layout of the Open Container Initiative, the same bytes for the same contents."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from tests.lab.recipes import FIXED_TIME

#: Capability 10 of linux/capability.h: binding ports below 1024.
CAP_NET_BIND_SERVICE = 10

_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file in a layer; or a symbolic link, or a folder."""

    path: str
    content: Path | bytes = b""
    mode: int = 0o755
    link_target: str = ""
    is_folder: bool = False
    #: Numbers of Linux capabilities that the file has of its own, whoever runs it.
    capabilities: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A compressed layer in a folder of blobs."""

    digest: str
    size: int
    #: Digest of the layer before compression.
    diff_id: str


@dataclass(frozen=True)
class Configuration:
    """How containers of an image run."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)

    def document(self) -> dict[str, Any]:
        """Return it as the config object of an image."""
        fields: dict[str, Any] = {
            "Cmd": list(self.command),
            "Entrypoint": list(self.entrypoint),
            "Env": list(self.environment),
            "User": self.user,
            "WorkingDir": "/",
        }
        return {name: value for name, value in fields.items() if value}


def capability_attribute(capabilities: Iterable[int]) -> bytes:
    """Return the value of security.capability: permitted and effective at once, revision 2 of vfs_cap_data."""
    revision_2, effective = 0x02000000, 0x000001
    permitted = sum(1 << capability for capability in capabilities)
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    return struct.pack("<5I", revision_2 | effective, low, 0, high, 0)


def write_layer(blobs: Path, entries: Iterable[Entry]) -> Layer:
    """Write files of our own as a layer, with the folders above them."""
    wanted = {entry.path: entry for entry in entries}
    folders = {str(parent) for path in wanted for parent in Path(path).parents} - {"."} - set(wanted)
    with _LayerWriter(blobs) as writer:
        for path in sorted([*wanted, *folders]):
            _add_entry(writer, wanted.get(path) or Entry(path, is_folder=True))
    return writer.layer


def rewrite_layer(blobs: Path, source: Path, without: Collection[str] = ()) -> Layer:
    """Write a root file system from a tar as a layer, sorted and with one time, leaving out some paths and devices."""
    with tarfile.open(source) as archive, _LayerWriter(blobs) as writer:
        # A hard link can only follow the file it links to.
        for member in sorted(archive.getmembers(), key=lambda member: (member.islnk(), member.name)):
            content = archive.extractfile(member) if member.isreg() else None
            member.name = member.name.removeprefix("./")
            if member.name in (".", "", *without) or member.isdev():
                continue
            if member.islnk():
                member.linkname = member.linkname.removeprefix("./")
            member.mtime = FIXED_TIME
            member.uname = member.gname = ""
            member.pax_headers = {}
            writer.add(member, content)
    return writer.layer


def write_image(
    folder: Path, tag: str, layers: Sequence[Layer], configuration: Configuration, architecture: str
) -> str:
    """Complete an OCI layout whose blobs are there already; return the digest of the image's manifest."""
    blobs = blobs_folder(folder)
    config = {
        "architecture": architecture,
        "config": configuration.document(),
        "created": datetime.fromtimestamp(FIXED_TIME, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "os": "linux",
        "rootfs": {"diff_ids": [layer.diff_id for layer in layers], "type": "layers"},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _write_document(blobs, config, "application/vnd.oci.image.config.v1+json"),
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer.digest,
                "size": layer.size,
            }
            for layer in layers
        ],
    }
    descriptor = _write_document(blobs, manifest, "application/vnd.oci.image.manifest.v1+json")
    named = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return str(descriptor["digest"])


def blobs_folder(layout: Path) -> Path:
    """Folder for the contents of an OCI layout, named by their digests."""
    return layout / "blobs" / "sha256"


class _Digesting:
    """A file to write into that knows the digest of what went through."""

    def __init__(self, target: BinaryIO | gzip.GzipFile) -> None:
        self._target = target
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._target.write(data)

    def flush(self) -> None:
        self._target.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self._digest.hexdigest()}"


class _LayerWriter:
    """Compresses the members of a layer into a blob, which gets its name at the end."""

    layer: Layer

    def __init__(self, blobs: Path) -> None:
        blobs.mkdir(parents=True, exist_ok=True)
        self._blobs = blobs
        self._unnamed = blobs / ".layer"

    def __enter__(self) -> _LayerWriter:
        self._file = self._unnamed.open("wb")
        self._compressed = _Digesting(self._file)
        # Images travel over one bridge: quick packing and unpacking is worth more than small blobs.
        self._gzip = gzip.GzipFile(filename="", fileobj=self._compressed, mode="wb", compresslevel=1, mtime=0)
        self._plain = _Digesting(self._gzip)
        self._tar = tarfile.open(fileobj=self._plain, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_COPY_BYTES)  # type: ignore[call-overload]
        return self

    def add(self, member: tarfile.TarInfo, content: Any) -> None:
        self._tar.addfile(member, content)

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        self._gzip.close()
        self._file.close()
        self.layer = Layer(self._compressed.digest, self._compressed.size, self._plain.digest)
        self._unnamed.rename(self._blobs / self.layer.digest.removeprefix("sha256:"))


def _add_entry(writer: _LayerWriter, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.path)
    member.mode, member.mtime = entry.mode, FIXED_TIME
    if entry.capabilities:
        attribute = capability_attribute(entry.capabilities).decode()
        member.pax_headers = {"SCHILY.xattr.security.capability": attribute}
    if entry.link_target:
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.link_target, 0o777
        writer.add(member, None)
    elif entry.is_folder:
        member.type = tarfile.DIRTYPE
        writer.add(member, None)
    elif isinstance(entry.content, bytes):
        member.size = len(entry.content)
        writer.add(member, io.BytesIO(entry.content))
    else:
        member.size = entry.content.stat().st_size
        with entry.content.open("rb") as content:
            writer.add(member, content)


def _write_document(blobs: Path, document: Mapping[str, Any], media_type: str) -> dict[str, Any]:
    content = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    hexadecimal = hashlib.sha256(content).hexdigest()
    (blobs / hexadecimal).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{hexadecimal}", "size": len(content)}
