# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes are served at the bridge's own address: a caching proxy for apt, an image registry, a web server.

There may be no service manager on the machine, and a killed run must leave nothing that cannot be found again. So each
daemon carries its name and the digest of its settings in an environment variable, by which it is found in /proc.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.lab.process import LabError, marked_processes, send_signal, wait_until
from tests.lab.progress import Report
from tests.lab.settings import APT_PROXY_PORT, HOST_ADDRESS, REGISTRY_PORT, WEB_PORT, Paths

MARK = "GROUNDPLANE_LAB_SERVICE"
START_SECONDS = 20
STOP_SECONDS = 10


@dataclass(frozen=True)
class Service:
    """A daemon of the lab."""

    name: str
    argv: Sequence[str]
    settings_file: Path | None
    settings: str
    health_url: str
    log: Path

    @property
    def mark(self) -> str:
        """Value of the environment variable by which the running daemon is found."""
        digest = hashlib.sha256("\n".join([*self.argv, self.settings]).encode()).hexdigest()
        return f"{self.name} {digest[:12]}"


def services(paths: Paths, upstream_proxy: str = "") -> list[Service]:
    """Every daemon of the lab."""
    folder = paths.state / "services"
    return [
        _apt_proxy(paths.root / "apt", folder, upstream_proxy),
        _registry(paths.registry, folder),
        _web_server(paths.web, folder),
    ]


def ensure_services(wanted: Sequence[Service], report: Report) -> None:
    """Start what is not running, and start anew what runs with other settings or gives no answer."""
    for service in wanted:
        running = _running(service.name)
        if service.mark in running.values() and _answers(service.health_url):
            continue
        _stop(running)
        _start(service)
        report(f"Started {service.name}, log in {service.log}")


def stop_services() -> None:
    """Stop every daemon of the lab, whatever its settings."""
    _stop(_running())


def service_states(wanted: Sequence[Service]) -> dict[str, str]:
    """State of each daemon in a few words."""
    return {service.name: _state(service) for service in wanted}


def _state(service: Service) -> str:
    if not _running(service.name):
        return "not running"
    return f"answers at {service.health_url}" if _answers(service.health_url) else f"gives no answer, see {service.log}"


def _apt_proxy(data: Path, folder: Path, upstream_proxy: str) -> Service:
    settings_folder = folder / "apt-cacher-ng"
    settings = {
        "CacheDir": data / "cache",
        "LogDir": data / "log",
        "SupportDir": "/usr/lib/apt-cacher-ng",
        "SocketPath": settings_folder / "socket",
        "BindAddress": f"127.0.0.1 {HOST_ADDRESS}",
        "Port": APT_PROXY_PORT,
        # Any port: a mirror may be offered over TLS or at an unusual place.
        "AllowUserPorts": 0,
        "ForeGround": 1,
        "ReportPage": "acng-report.html",
        **({"Proxy": upstream_proxy} if upstream_proxy else {}),
    }
    return Service(
        "apt-proxy",
        ["/usr/sbin/apt-cacher-ng", "-c", str(settings_folder)],
        settings_folder / "acng.conf",
        "".join(f"{key}: {value}\n" for key, value in settings.items()),
        f"http://{HOST_ADDRESS}:{APT_PROXY_PORT}/acng-report.html",
        folder / "apt-proxy.log",
    )


def _registry(data: Path, folder: Path) -> Service:
    settings_file = folder / "registry.yml"
    settings = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}},
        "http": {"addr": f"{HOST_ADDRESS}:{REGISTRY_PORT}"},
    }
    return Service(
        "registry",
        ["/usr/bin/docker-registry", "serve", str(settings_file)],
        settings_file,
        yaml.safe_dump(settings),
        f"http://{HOST_ADDRESS}:{REGISTRY_PORT}/v2/",
        folder / "registry.log",
    )


def _web_server(data: Path, folder: Path) -> Service:
    server = ["-m", "http.server", "--bind", str(HOST_ADDRESS), "--protocol", "HTTP/1.1", "--directory", str(data)]
    return Service(
        "web",
        ["/usr/bin/python3", *server, str(WEB_PORT)],
        None,
        "",
        f"http://{HOST_ADDRESS}:{WEB_PORT}/",
        folder / "web.log",
    )


def _start(service: Service) -> None:
    service.log.parent.mkdir(parents=True, exist_ok=True)
    if service.settings_file:
        service.settings_file.parent.mkdir(parents=True, exist_ok=True)
        service.settings_file.write_text(service.settings)
    with service.log.open("w") as log:
        process = subprocess.Popen(
            service.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**os.environ, MARK: service.mark},
        )
    wait_until(lambda: _answers(service.health_url) or process.poll() is not None, seconds=START_SECONDS)
    if process.poll() is not None or not _answers(service.health_url):
        last_words = "\n".join(service.log.read_text(errors="replace").splitlines()[-10:])
        raise LabError(f"{service.name} does not answer at {service.health_url}. Its last words:\n{last_words}")


def _stop(running: dict[int, str]) -> None:
    for process_id in running:
        send_signal(process_id, signal.SIGTERM)
    if not wait_until(lambda: not any(_is_alive(process_id) for process_id in running), seconds=STOP_SECONDS):
        for process_id in running:
            send_signal(process_id, signal.SIGKILL)


def _is_alive(process_id: int) -> bool:
    return process_id in _running()


def _running(name: str | None = None) -> dict[int, str]:
    """Process ids of running daemons with their marks."""
    marks = marked_processes(MARK)
    return {process: value for process, value in marks.items() if name in (None, value.partition(" ")[0])}


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
