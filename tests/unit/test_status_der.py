"""Dates and names of certificates and lists, read without a library, against one."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import der
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

_KEY = ec.generate_private_key(ec.SECP256R1())
_OIDS = {
    "DC": NameOID.DOMAIN_COMPONENT,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}
_TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_categories=("Cc",)),
    min_size=1,
    max_size=20,
)
_PARTS = st.lists(st.tuples(st.sampled_from(sorted(_OIDS)), _TEXT), min_size=1, max_size=5)
#: Beyond 2049 dates have another form.
_MOMENTS = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2300, 1, 1))
_ENCODINGS = st.sampled_from([serialization.Encoding.PEM, serialization.Encoding.DER])


def _name(parts: list[tuple[str, str]]) -> x509.Name:
    return x509.Name([x509.NameAttribute(_OIDS[key], value) for key, value in parts])


def _slashed(parts: list[tuple[str, str]]) -> str:
    return "".join(f"/{key}={value}" for key, value in parts)


def _seconds(moment: datetime.datetime) -> int:
    return int(moment.replace(microsecond=0, tzinfo=datetime.UTC).timestamp())


@settings(max_examples=60, deadline=None)
@given(_PARTS, _PARTS, _MOMENTS, st.timedeltas(datetime.timedelta(1), datetime.timedelta(9999)),
       _ENCODINGS)  # fmt: skip
def test_a_certificate(
    issuer: list[tuple[str, str]],
    subject: list[tuple[str, str]],
    begin: datetime.datetime,
    life: datetime.timedelta,
    encoding: serialization.Encoding,
) -> None:
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(_name(issuer))
        .subject_name(_name(subject))
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .serial_number(x509.random_serial_number())
        .public_key(_KEY.public_key())
        .sign(_KEY, hashes.SHA256())
    )
    found = der.certificate(certificate.public_bytes(encoding))
    assert found == (_slashed(subject), _seconds(begin), _seconds(begin + life))


@settings(max_examples=40, deadline=None)
@given(_PARTS, _MOMENTS, st.integers(0, 300), _ENCODINGS, st.integers(4000, 9000))
def test_a_revocation_list_even_if_cut_off(
    issuer: list[tuple[str, str]],
    begin: datetime.datetime,
    revoked: int,
    encoding: serialization.Encoding,
    cut: int,
) -> None:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(_name(issuer))
        .last_update(begin)
        .next_update(begin + datetime.timedelta(7))
    )
    for serial in range(revoked):
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(serial + 1)
            .revocation_date(begin)
            .build()
        )
    data = builder.sign(_KEY, hashes.SHA256()).public_bytes(encoding)
    week_later = begin + datetime.timedelta(7)
    assert der.revocation_list(data[:cut]) == (
        _slashed(issuer), _seconds(begin), _seconds(week_later),
    )  # fmt: skip


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([der.certificate, der.revocation_list]))
def test_other_bytes_are_refused_in_one_way(data: bytes, read: object) -> None:
    assert callable(read)
    for given_data in (data, b"\x30\x82\x01\x00\x30\x81\xf0" + data):
        with contextlib.suppress(der.NotReadable):
            read(given_data)


def test_a_list_is_no_certificate() -> None:
    with pytest.raises(der.NotReadable, match="neither PEM nor DER"):
        der.certificate(b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n")
