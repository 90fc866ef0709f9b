# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: the same contents give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from tests.lab import oci, recipes
from tests.lab.oci import CAP_NET_BIND_SERVICE, Configuration, Entry, Layer


def members(blobs: Path, layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(blobs / layer.digest.removeprefix("sha256:")) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_order_and_time_of_files_do_not_matter(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"code")
    entries = [Entry("usr/local/bin/program", program), Entry("etc/passwd", b"root", mode=0o644)]
    first = oci.write_layer(tmp_path / "first", entries)
    os.utime(program, (0, 0))
    second = oci.write_layer(tmp_path / "second", reversed(entries))
    assert first == second


def test_a_layer_is_named_by_its_contents(tmp_path: Path) -> None:
    layer = oci.write_layer(tmp_path, [Entry("pause", b"code")])
    blob = (tmp_path / layer.digest.removeprefix("sha256:")).read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(blob).hexdigest()}"
    assert layer.size == len(blob)
    assert [path.name for path in tmp_path.iterdir()] == [layer.digest.removeprefix("sha256:")]


def test_files_links_and_folders(tmp_path: Path) -> None:
    entries = [
        Entry("bin/busybox", b"code"),
        Entry("bin/sh", link_target="busybox"),
        Entry("tmp", is_folder=True, mode=0o1777),
    ]
    found = members(tmp_path, oci.write_layer(tmp_path, entries))
    assert list(found) == ["bin", "bin/busybox", "bin/sh", "tmp"]
    assert found["bin"].isdir()
    assert found["bin/busybox"].mode == 0o755
    assert found["bin/sh"].linkname == "busybox"
    assert found["tmp"].mode == 0o1777


def test_a_program_may_bind_low_ports(tmp_path: Path) -> None:
    layer = oci.write_layer(tmp_path, [Entry("coredns", b"code", capabilities=(CAP_NET_BIND_SERVICE,))])
    attribute = members(tmp_path, layer)["coredns"].pax_headers["SCHILY.xattr.security.capability"]
    assert attribute.encode() == bytes.fromhex("01000002 00040000 00000000 00000000 00000000")


def test_a_root_file_system_is_sorted_and_stripped(tmp_path: Path) -> None:
    source = tmp_path / "rootfs.tar"
    with tarfile.open(source, "w") as archive:
        for name, kind, target in (
            ("./usr/bin/zsh", tarfile.REGTYPE, ""),
            ("./usr/bin/link", tarfile.LNKTYPE, "./usr/bin/zsh"),
            ("./dev/null", tarfile.CHRTYPE, ""),
            ("./usr/bin/busybox", tarfile.REGTYPE, ""),
            ("./bin", tarfile.SYMTYPE, "usr/bin"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mtime, member.uname = kind, target, 5, "root"
            archive.addfile(member, io.BytesIO())
    found = members(tmp_path, oci.rewrite_layer(tmp_path, source, without=("usr/bin/busybox",)))
    assert list(found) == ["bin", "usr/bin/zsh", "usr/bin/link"]
    assert found["usr/bin/link"].linkname == "usr/bin/zsh"
    assert {member.mtime for member in found.values()} == {recipes.FIXED_TIME}


def test_an_image_points_to_its_layers(tmp_path: Path) -> None:
    blobs = oci.blobs_folder(tmp_path)
    layer = oci.write_layer(blobs, [Entry("pause", b"code")])
    configuration = Configuration(entrypoint=("/pause",), user="65535:65535")
    digest = oci.write_image(tmp_path, "3.10", [layer], configuration, "amd64")
    manifest = json.loads((blobs / digest.removeprefix("sha256:")).read_text())
    assert [entry["digest"] for entry in manifest["layers"]] == [layer.digest]
    config = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    assert config["rootfs"]["diff_ids"] == [layer.diff_id]
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["created"] == "2026-01-01T00:00:00Z"
    assert oci.write_image(tmp_path, "3.10", [layer], configuration, "amd64") == digest
