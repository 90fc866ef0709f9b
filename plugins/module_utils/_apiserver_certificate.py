# Copyright: (c) groundplane.kubeadm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server's serving certificate: which names it lacks, and a new one by kubeadm in its place."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, NamedTuple, Sequence

from ansible_collections.groundplane.kubeadm.plugins.module_utils._command import Runner
from ansible_collections.groundplane.kubeadm.plugins.module_utils._document import read_text
from ansible_collections.groundplane.kubeadm.plugins.module_utils._errors import GroundplaneError
from ansible_collections.groundplane.kubeadm.plugins.module_utils._kubeadm import (
    CONFIGURATION_FROM_STDIN,
    error_lines,
    limited,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._pki import (
    SubjectAltNames,
    certificate_der,
    subject_alt_names,
)
from ansible_collections.groundplane.kubeadm.plugins.module_utils._waiting import exclusive, wait_until

# Besides making a key, kubeadm has nothing to do that takes time.
_KUBEADM_SECONDS = 120
_CONNECT_SECONDS = 5
_CERTIFICATES_DIR = re.compile(r"^certificatesDir:.*$", re.MULTILINE)
_CRT, _KEY = "apiserver.crt", "apiserver.key"
# OpenSSL's words for a key of another pair, the last for one of another algorithm. Other complaints, such as one about
# a key that is too short for the machine's policy, prove nothing.
_MISMATCHES = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}

#: Certificate, in DER, that the server at an address and a port shows; None when there is no answer.
ServedCertificate = Callable[[str, int], "bytes | None"]


@dataclass(frozen=True)
class CertificatePaths:
    """Where everything lies.

    :arg run: folder for what may not outlive the machine's running; only tests set another.
    """

    pki: Path
    run: Path = Path("/run/groundplane")

    @property
    def certificate(self) -> Path:
        """The serving certificate, maybe with intermediate ones behind it."""
        return self.pki / _CRT

    @property
    def key(self) -> Path:
        """Its key."""
        return self.pki / _KEY

    @property
    def ca_key(self) -> Path:
        """Key of the CA, which is missing where the CA is external."""
        return self.pki / "ca.key"

    @property
    def private(self) -> Path:
        """Folder in which kubeadm works; holds a copy of the CA's key, so it is in memory and only root's."""
        return self.run / "apiserver-certificate"

    @property
    def lock(self) -> Path:
        """Lock file of runs of the module."""
        return self.run / "apiserver-certificate.lock"

    @property
    def remains(self) -> tuple[Path, ...]:
        """Everything that a killed run may leave; renaming works within a file system only, hence the last two."""
        return (self.private, *(temporary_of(self.pki / name) for name in (_KEY, _CRT)))


class ServingState(NamedTuple):
    """The certificate as it is.

    :arg names: None when there is no certificate.
    :arg key_belongs: False when the key is missing or is another certificate's.
    :arg ca_key: whether a new certificate can be signed here.
    :arg remains: what a killed run has left.
    """

    names: SubjectAltNames | None = None
    key_belongs: bool = True
    ca_key: bool = False
    remains: tuple[Path, ...] = ()


@dataclass(frozen=True)
class CertificatePlan:
    """What has to be done.

    :arg before: names in the certificate.
    :arg missing: wanted names that are not among them.
    :arg broken: whether the key does not belong to the certificate.
    :arg remains: whether a killed run has left something.
    """

    before: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    broken: bool = False
    remains: bool = False

    @property
    def renewed(self) -> bool:
        """Whether there has to be a new certificate."""
        return bool(self.missing) or self.broken

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return self.renewed or self.remains

    def reasons(self) -> list[str]:
        """Why there is something to do."""
        reasons = []
        if self.missing:
            reasons.append("the certificate lacks " + ", ".join(self.missing))
        if self.broken:
            reasons.append("the key does not belong to the certificate")
        if self.remains:
            reasons.append("an interrupted run has left its files")
        return reasons

    def predicted(self) -> SubjectAltNames:
        """Names that the certificate will have at least."""
        return _split((*self.before, *self.missing))


def temporary_of(path: Path) -> Path:
    """Where the new content of a file is written before it takes the file's place."""
    return path.with_name(f".{path.name}.groundplane")


def completed_argv() -> list[str]:
    """Prints the configuration on standard input with every field, in kubeadm's own style of YAML."""
    return ["kubeadm", "config", "migrate", "--old-config", "/dev/stdin"]


def issue_argv() -> list[str]:
    """Makes the serving certificate that the configuration on standard input describes.

    kubeadm refuses --cert-dir beside --config, so the configuration has to name the folder.
    """
    return ["kubeadm", "init", "phase", "certs", "apiserver", *CONFIGURATION_FROM_STDIN]


def read_state(paths: CertificatePaths) -> ServingState:
    """The certificate of this host."""
    remains = tuple(path for path in paths.remains if path.exists())
    pem = read_text(paths.certificate)
    if pem is None:
        return ServingState(remains=remains)
    return ServingState(
        names=subject_alt_names(pem),
        key_belongs=key_belongs(paths.certificate, paths.key),
        ca_key=paths.ca_key.exists(),
        remains=remains,
    )


def decide(state: ServingState, names: Sequence[str], paths: CertificatePaths) -> CertificatePlan:
    """Renew for a missing name, or for a key that a killed run has put in place without its certificate.

    Superfluous names are no reason: they do no harm, and a renewal is not for nothing.
    """
    if state.names is None:
        return CertificatePlan(remains=bool(state.remains))
    plan = CertificatePlan(
        before=state.names.in_order(),
        missing=missing_names(state.names, names),
        broken=not state.key_belongs,
        remains=bool(state.remains),
    )
    if plan.renewed and not state.ca_key:
        wanted = ", ".join(plan.missing) or "the names it has"
        raise GroundplaneError(
            f"{paths.certificate} has to be renewed ({'; '.join(plan.reasons())}), but there is no {paths.ca_key}",
            expected="the key of the cluster's CA, or a certificate that has all names",
            remedy=f"the CA is external: have it issue a serving certificate that also carries {wanted}, and put it "
            "and its key in place; the API server takes them up by itself",
        )
    return plan


def missing_names(found: SubjectAltNames, wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of the wanted names and addresses that a certificate does not carry literally, sorted."""
    asked = _split(wanted)
    dns = {name.lower() for name in found.dns}
    return SubjectAltNames(
        tuple(name for name in asked.dns if name not in dns),
        tuple(address for address in asked.addresses if address not in found.addresses),
    ).in_order()


def key_belongs(certificate: Path, key: Path) -> bool:
    """Whether a key file is there and is the certificate's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password at hand, OpenSSL would ask a terminal for that of an encrypted key.
        context.load_cert_chain(str(certificate), str(key), password=lambda: "")
    except ssl.SSLError as error:
        return error.reason not in _MISMATCHES
    except FileNotFoundError:
        return False
    return True


def bring_up_to_date(
    runner: Runner,
    paths: CertificatePaths,
    names: Sequence[str],
    configuration: str,
    *,
    timeout: int,
    check_mode: bool,
) -> tuple[CertificatePlan, SubjectAltNames]:
    """Renew the certificate if it has to be, or only find that out in check mode.

    :arg timeout: seconds for which another run is waited for.
    :return: the plan, and the names of the certificate afterwards.
    """
    if check_mode:
        plan = decide(read_state(paths), names, paths)
        return plan, plan.predicted()
    with exclusive(paths.lock, timeout):
        state = read_state(paths)
        _remove_remains(paths)
        plan = decide(state, names, paths)
        return plan, _renew(runner, paths, names, configuration) if plan.renewed else plan.predicted()


def wait_until_served(
    paths: CertificatePaths, served: ServedCertificate, address: str, port: int, timeout: float
) -> None:
    """Wait until the API server shows the certificate that is in the file."""
    expected = certificate_der(read_text(paths.certificate) or "")
    answers: list[bytes | None] = []

    def is_served() -> bool:
        answers.append(served(address, port))
        return answers[-1] == expected

    if not wait_until(is_served, timeout):
        said = "there is no answer" if answers[-1] is None else "another certificate is shown"
        raise GroundplaneError(
            f"{paths.certificate} was renewed, but after {timeout:.0f} seconds {said} at {address}, port {port}",
            expected="this host's API server, which takes up a new certificate within a minute or so",
            remedy="see the log of the container kube-apiserver, and restart it if it runs",
        )


def served_certificate(address: str, port: int) -> bytes | None:
    """Certificate, in DER, that a TLS server shows; None when there is no answer.

    Nothing is verified: the certificate is only compared with the one in the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        connection = socket.create_connection((address, port), timeout=_CONNECT_SECONDS)
        with connection, context.wrap_socket(connection) as session:
            return session.getpeercert(binary_form=True)
    except OSError:
        return None


def _split(names: Iterable[str]) -> SubjectAltNames:
    """Names and addresses in their usual forms, each once."""
    dns: dict[str, None] = {}
    addresses: dict[str, None] = {}
    for name in names:
        try:
            addresses[str(ipaddress.ip_address(name))] = None
        except ValueError:
            dns[name.lower()] = None
    return SubjectAltNames(tuple(dns), tuple(addresses))


def _renew(runner: Runner, paths: CertificatePaths, names: Sequence[str], configuration: str) -> SubjectAltNames:
    """Have kubeadm make a new certificate in the private folder, and put it in place if it is as wanted."""
    try:
        _issue(runner, paths, configuration)
        issued = _checked(paths, names)
        _put_in_place(paths)
    finally:
        _remove_remains(paths)
    return issued


def _issue(runner: Runner, paths: CertificatePaths, configuration: str) -> None:
    """Make a certificate in the private folder."""
    paths.private.mkdir(mode=0o700)
    for name in ("ca.crt", "ca.key"):
        _write(paths.private / name, (paths.pki / name).read_bytes(), 0o600)
    # The style of the given text is anybody's, and there is no YAML parser here; in kubeadm's, a field is a line.
    completed = _kubeadm(runner, completed_argv(), configuration)
    text, count = _CERTIFICATES_DIR.subn(f"certificatesDir: {paths.private}", completed)
    if count != 1:
        raise GroundplaneError(
            f"the configuration has {count} fields certificatesDir after kubeadm has completed it",
            expected="one InitConfiguration and one ClusterConfiguration",
            remedy="correct the option configuration",
        )
    _kubeadm(runner, issue_argv(), text)


def _kubeadm(runner: Runner, argv: Sequence[str], stdin: str) -> str:
    """Output of kubeadm."""
    result = runner.run(limited(argv, _KUBEADM_SECONDS), stdin=stdin, check=False)
    if result.rc != 0:
        raise GroundplaneError(
            f"{' '.join(argv)} failed with exit code {result.rc}: {'; '.join(error_lines(result))}",
            remedy="correct the option configuration; the certificate in use is untouched",
            facts={"rc": result.rc},
        )
    return result.stdout


def _checked(paths: CertificatePaths, names: Sequence[str]) -> SubjectAltNames:
    """Names of the new certificate, once it has proved to be as wanted."""
    pem = read_text(paths.private / _CRT)
    if pem is None:
        raise GroundplaneError(
            "kubeadm has made no certificate",
            expected="a configuration that lets kubeadm make the serving certificate",
            remedy="take certs/apiserver out of skipPhases, or issue a certificate with all names yourself",
        )
    issued = subject_alt_names(pem)
    missing = missing_names(issued, names)
    if missing:
        raise GroundplaneError(
            f"the certificate that kubeadm has made lacks {', '.join(missing)}; it was thrown away",
            expected="a certificate with all names; kubeadm takes them from the option configuration",
            remedy="add them to apiServer.certSANs of the ClusterConfiguration; kubeadm leaves out what is no name",
        )
    return issued


def _put_in_place(paths: CertificatePaths) -> None:
    """Replace key and certificate, each in one step and with both contents on the disk before.

    Between the two steps the API server sees a pair that does not match: it keeps the one it has and looks again. The
    certificate comes last because it is the one that decisions look at.
    """
    for target, mode in ((paths.key, 0o600), (paths.certificate, 0o644)):
        owner = (target if target.exists() else paths.certificate).stat()
        temporary = temporary_of(target)
        _write(temporary, (paths.private / target.name).read_bytes(), mode)
        os.chown(str(temporary), owner.st_uid, owner.st_gid)
    for target in (paths.key, paths.certificate):
        temporary_of(target).replace(target)
    folder = os.open(str(paths.pki), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Make a file, readable by nobody else from the beginning, and have it on the disk."""
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _remove_remains(paths: CertificatePaths) -> None:
    """Remove what a run needs on its way, its own or that of a killed one."""
    for path in paths.remains:
        if path.is_dir():
            shutil.rmtree(str(path))
        elif path.exists():
            path.unlink()
