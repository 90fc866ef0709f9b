# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian archives this machine uses itself, turned into the apt sources of its nodes.

Addresses of mirrors are read from the machine's own configuration at run time; the lab knows none.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.lab.process import LabError, run
from tests.lab.settings import APT_PROXY_PORT

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LOCAL_PROXY = f"http://127.0.0.1:{APT_PROXY_PORT}"
MOVING_NAMES = ("oldstable", "stable")

#: Settings of this machine's apt that nodes need too, since they use the same archives.
CARRIED_SETTINGS = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")


@dataclass(frozen=True)
class Archive:
    """One suite of one archive."""

    uri: str
    suite: str

    def stanza(self) -> str:
        """The archive as a paragraph of a .sources file."""
        return f"Types: deb\nURIs: {self.uri}\nSuites: {self.suite}\nComponents: main\nSigned-By: {KEYRING}\n"


def sources_file(archives: Iterable[Archive]) -> str:
    """Text of a .sources file."""
    return "\n".join(archive.stanza() for archive in archives)


def machine_archives() -> list[Archive]:
    """Debian's archives in this machine's sources, in the suites of its own release."""
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    folder = Path("/etc/apt/sources.list.d")
    one_line_files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list"))]
    entries = [
        *(entry for file in sorted(folder.glob("*.sources")) for entry in parse_deb822(file.read_text())),
        *(entry for file in one_line_files if file.exists() for entry in parse_one_line(file.read_text())),
    ]
    archives = of_release(entries, release.group(1) if release else "")
    if not archives:
        raise LabError(
            "No Debian archive of this machine's release was found in /etc/apt; nodes are made from the machine's own "
            "mirrors, so add one to /etc/apt/sources.list.d."
        )
    return archives


def parse_deb822(text: str) -> Iterator[Archive]:
    """Archives in the text of a .sources file."""
    for paragraph in re.split(r"\n\s*\n", text):
        lines = (line for line in paragraph.splitlines() if not line.startswith("#"))
        fields = {key.lower(): value for key, value in re.findall(r"^([\w-]+):(.*(?:\n\s.*)*)", "\n".join(lines), re.M)}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "").strip().lower() == "no":
            continue
        for uri in fields.get("uris", "").split():
            yield from (Archive(uri, suite) for suite in fields.get("suites", "").split())


def parse_one_line(text: str) -> Iterator[Archive]:
    """Archives in the text of a sources.list file."""
    for match in re.finditer(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE):
        yield Archive(match.group(1), match.group(2))


def of_release(archives: Iterable[Archive], codename: str) -> list[Archive]:
    """Archives of a release, its updates and its security fixes, called by the release's own name."""
    found = []
    for archive in archives:
        name, dash, pocket = archive.suite.partition("-")
        if name in (codename, *MOVING_NAMES) and pocket in ("", "updates", "security"):
            found.append(Archive(through_proxy(archive.uri), codename + dash + pocket))
    return list(dict.fromkeys(found))


def through_proxy(uri: str) -> str:
    """Address under which the caching proxy can fetch an archive that is only offered over TLS."""
    parts = urlsplit(uri)
    if parts.scheme == "https":
        return f"http://HTTPS///{parts.netloc}{parts.path}"
    if parts.scheme != "http":
        raise LabError(f"The archive {uri} in /etc/apt is not served over HTTP; nodes cannot use it.")
    return uri


def for_release(archives: Iterable[Archive], release: str, exists: Callable[[Archive], bool]) -> list[Archive]:
    """The same archives for another release, without the suites that release does not have (yet)."""
    wanted = [replace(archive, suite="-".join([release, *archive.suite.split("-")[1:]])) for archive in archives]
    return [archive for archive in wanted if exists(archive)]


def archives_for(release: str) -> list[Archive]:
    """Archives of a release, from this machine's mirrors."""
    return for_release(machine_archives(), release, exists_in_proxy)


def exists_in_proxy(archive: Archive) -> bool:
    """Ask the caching proxy whether a suite is there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": LOCAL_PROXY}))
    url = f"{archive.uri.rstrip('/')}/dists/{archive.suite}/InRelease"
    try:
        with opener.open(url, timeout=60):
            return True
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise LabError(f"The caching proxy answered {error.code} for {url}; is this machine's mirror there?") from error
    except OSError as error:
        raise LabError(f"The caching proxy gave no answer for {url}: {error}") from error


def mmdebstrap_command(settings: str) -> list[str]:
    """Start of a command that unpacks packages fetched through the caching proxy, with further settings of apt."""
    settings_of_apt = [f'Acquire::http::Proxy "{LOCAL_PROXY}"', *settings.splitlines()]
    return [
        # Mounts of a killed mmdebstrap vanish with its mount namespace.
        *("unshare", "--mount", "mmdebstrap", f"--keyring={KEYRING}"),
        *(f"--aptopt={setting.rstrip(';')}" for setting in settings_of_apt),
    ]


def carried_settings() -> str:
    """Settings of this machine's apt about the age of archives, as text of an apt.conf file."""
    lines = run(["apt-config", "dump"]).splitlines()
    return "".join(f"{line}\n" for line in lines if line.split(" ")[0] in CARRIED_SETTINGS)


def machine_proxy() -> str:
    """Proxy through which this machine itself reaches its archives; empty without one."""
    return run(["apt-config", "shell", "proxy", "Acquire::http::Proxy"]).partition("=")[2].strip().strip("'\"")
