"""A public key infrastructure for tests: authorities, certificates of every kind, a CRL, all as PEM files."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_AUTHORITY_USAGE = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


def date(days: int) -> str:
    """So many days from the beginning of the tests, as fastmail writes when a certificate ends."""
    return f"{_NOW + days * _DAY:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Files:
    """A certificate (with what follows it in its chain) and its key."""

    certificate: Path
    key: Path


def _name(common: str) -> x509.Name:
    if not common:
        return x509.Name([])
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ex, Inc"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _new_key(kind: str) -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """A CA that keeps its certificate in ``path``; an old one's does not say what its key is for."""

    def __init__(
        self,
        directory: Path,
        common: str,
        issuer: "Authority | None" = None,
        days: tuple[int, int] = (-1, 30),
        *,
        old: bool = False,
    ) -> None:
        self.directory = directory
        self.key = _new_key("ec")
        self.name = _name(common)
        validity = (_NOW + days[0] * _DAY, _NOW + days[1] * _DAY)
        self.certificate = _sign(
            self.name, self.key, issuer or self, [], validity, authority=True,
            more=[] if old else [_AUTHORITY_USAGE],
        )  # fmt: skip
        self.path = directory / f"{common}.pem"
        self.path.write_bytes(pem(self.certificate))
        self._revoked: list[int] = []

    def issue(
        self,
        common: str,
        *,
        names: Sequence[str] = (),
        kind: str = "ec",
        days: tuple[int, int] = (-1, 30),
        password: bytes | None = None,
        chain: "Sequence[Authority]" = (),
        file: str | None = None,
    ) -> Files:
        """A certificate for host names or addresses, valid from and to that many days from now."""
        key = _new_key(kind)
        validity = (_NOW + days[0] * _DAY, _NOW + days[1] * _DAY)
        certificate = _sign(_name(common), key, self, names, validity, authority=False)
        files = Files(*(self.directory / f"{file or common}.{end}" for end in ("crt", "key")))
        files.certificate.write_bytes(
            pem(certificate) + b"".join(pem(authority.certificate) for authority in chain)
        )
        files.key.write_bytes(key_pem(key, password))
        return files

    def revoke(self, files: Files) -> Path:
        """A CRL with all that have been revoked so far."""
        self._revoked.append(x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(_NOW - _DAY).next_update(_NOW + 30 * _DAY)
        for serial in self._revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_NOW - _DAY)
            builder = builder.add_revoked_certificate(entry.build())
        path = self.path.with_suffix(".crl")
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Key, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _sign(
    subject: x509.Name,
    key: Key,
    issuer: Authority,
    names: Sequence[str],
    validity: tuple[datetime.datetime, datetime.datetime],
    *,
    authority: bool,
    more: Sequence[x509.ExtensionType] = (),
) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(validity[0]).not_valid_after(validity[1])
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    for extension in more:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer.key, hashes.SHA256())


class PKI:
    """What most tests need; files lie in ``directory``."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
        self.directory = directory
        self.ca = Authority(directory, "ca")
        self.intermediate = Authority(directory, "intermediate", self.ca)
        self.other_ca = Authority(directory, "other-ca")
        own = ["127.0.0.1", "localhost", "mail.test"]
        self.server = self.ca.issue("mail.test", names=own, file="server")
        self.server_rsa = self.ca.issue("mail.test", names=own, kind="rsa", file="server-rsa")
        self.client = self.ca.issue("client.test", file="client")
        self.client_expired = self.ca.issue("client.test", days=(-9, -2), file="client-expired")
        self.client_early = self.ca.issue("client.test", days=(2, 9), file="client-early")
        self.client_deep = self.intermediate.issue(
            "client.test", chain=[self.intermediate], file="client-deep"
        )
        self.client_other = self.other_ca.issue("client.test", file="client-other")
        self.client_revoked = self.ca.issue("client.test", file="client-revoked")
        self.crl = self.ca.revoke(self.client_revoked)
