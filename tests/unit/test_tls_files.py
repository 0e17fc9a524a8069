"""What TLS contexts say of files that they cannot read: certificates, keys."""

from pathlib import Path

import pytest
from support.certificate import Certificate

from fastmail._speedups import TLSContext, TLSError


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.mark.parametrize(
    ("behind", "good"),
    [
        ("", True),
        ("a remark\n", True),
        ("-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n", False),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n", False),
    ],
)
def test_what_stands_behind_a_certificate(
    tmp_path: Path, certificate: Certificate, behind: str, good: bool
) -> None:
    """More of the chain, or nothing that begins like one: a torn file is not taken for a shorter one."""
    chain = tmp_path / "chain.pem"
    chain.write_text(certificate.path.read_text() + behind)
    context = TLSContext()
    if good:
        context.certificate(bytes(chain), bytes(certificate.key))
        assert len(context.pairs()) == 1
        return
    with pytest.raises(TLSError) as caught:
        context.certificate(bytes(chain), bytes(certificate.key))
    assert str(caught.value).startswith(f'cannot load certificate "{chain}": PEM_read_bio_X509() failed')
