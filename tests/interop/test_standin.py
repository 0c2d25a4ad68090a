"""The BeStMan stand-in against real clients: Debian's gfal2, and a plain TLS client."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloudlet_deploy.lab.ca import Pki

from .door import ALICE, MALLORY, Door, gfal, many, missing_programs, paths

_MISSING = missing_programs("java", "javac", "gfal-ls", "grid-proxy-init", "ss")
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {_MISSING}")

_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
# ProxyCertInfo of RFC 3820, "inherit all", which the cryptography package does not know.
_PROXY_INFO = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), bytes.fromhex("300c300a06082b06010505071501")
)


@pytest.fixture(scope="module")
def door(home: Path, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(home, pki, tmp_path_factory.mktemp("door")).running() as door:
        (door.data / "sub" / "deep").mkdir(parents=True)
        (door.data / "sub" / "b").write_text("1234567")
        (door.data / "a & <b>.txt").write_text("hello\n")
        yield door


def _proxy(pki: Pki, where: Path, *options: str) -> Path:
    user = pki.user("alice")
    files = ["-cert", user / "usercert.pem", "-key", user / "userkey.pem", "-out", where]
    subprocess.run(
        ["grid-proxy-init", "-q", "-rfc", "-bits", "2048", *options, *map(str, files)],
        check=True,
        env={"PATH": os.environ["PATH"], "X509_CERT_DIR": str(pki.certificates)},
    )
    return where


def _issued(pki: Pki, where: Path, organization: str, **lifetime: timedelta) -> Path:
    """A user certificate of the lab's CA with another organization, or another lifetime."""
    authority = x509.load_pem_x509_certificate((pki.directory / "ca/cert.pem").read_bytes())
    signer = serialization.load_pem_private_key((pki.directory / "ca/key.pem").read_bytes(), None)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    parts = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "lab"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Eve Lab"),
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(parts))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + lifetime.get("ends", timedelta(days=1)))
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    private = key.private_bytes(
        _PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    where.write_bytes(certificate.public_bytes(_PEM) + private)
    return where


class TestGfal:
    def test_lists_with_a_user_certificate(self, door: Door, pki: Pki) -> None:
        code, output = gfal(pki, "gfal-ls", "-l", door.surl(door.data))
        assert code == 0, output
        lines = sorted(line.split(maxsplit=8) for line in output.splitlines())
        assert [(line[0][0], line[4], line[8].strip()) for line in lines] == [
            ("-", "6", "a & <b>.txt"),
            ("d", "0", "sub"),
        ]

    def test_lists_with_an_rfc_3820_proxy_and_a_proxy_of_it(
        self, door: Door, pki: Pki, tmp_path: Path
    ) -> None:
        code, output = gfal(
            pki, "gfal-ls", door.surl(door.data / "sub"), proxy=_proxy(pki, tmp_path / "proxy")
        )
        assert (code, output.split()) == (0, ["b", "deep"])

    def test_tells_size_and_time_of_a_file(self, door: Door, pki: Pki) -> None:
        os.utime(door.data / "sub" / "b", (1_700_000_000, 1_700_000_000))
        code, output = gfal(pki, "gfal-stat", door.surl(door.data / "sub" / "b"))
        assert code == 0
        assert "Size: 7\tregular file" in output
        assert "Modify: 2023-11-14 22:13:20" in output

    def test_refuses_a_dn_outside_the_gridmap_and_names_both(self, door: Door, pki: Pki) -> None:
        code, output = gfal(pki, "gfal-ls", door.surl(door.data), user="mallory")
        assert code == 13
        assert MALLORY in output
        assert str(door.gridmap) in output

    def test_says_that_a_path_is_missing(self, door: Door, pki: Pki) -> None:
        code, output = gfal(pki, "gfal-ls", door.surl(door.data / "none"))
        assert code == 2
        assert "SRM_INVALID_PATH" in output

    def test_makes_and_removes(self, door: Door, pki: Pki) -> None:
        new = door.data / "new"
        assert gfal(pki, "gfal-mkdir", door.surl(new))[0] == 0
        assert new.is_dir()
        (new / "file").write_text("x")
        assert gfal(pki, "gfal-rm", door.surl(new / "file"))[0] == 0
        assert list(new.iterdir()) == []
        assert gfal(pki, "gfal-rm", "-r", door.surl(new))[0] == 0
        assert not new.exists()


class TestTransport:
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_speaks_tls(self, door: Door, version: ssl.TLSVersion) -> None:
        with door.connect(tls=version) as client:
            assert client.stream.version() == version.name.replace("_", ".")
            assert client.call("srmPing").http == 200

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_accepts_a_delegated_credential(self, door: Door, version: ssl.TLSVersion) -> None:
        user = door.pki.user("alice")
        certificate = x509.load_pem_x509_certificate((user / "usercert.pem").read_bytes())
        key = serialization.load_pem_private_key((user / "userkey.pem").read_bytes(), None)
        before = door.event_log.read_text().count("delegated=true")
        with door.connect(tls=version, first=b"D") as client:
            public = serialization.load_der_public_key(_requested_key(client.stream.recv(16384)))
            subject = [*certificate.subject, x509.NameAttribute(NameOID.COMMON_NAME, "1")]
            proxy = (
                x509.CertificateBuilder()
                .subject_name(x509.Name(subject))
                .issuer_name(certificate.subject)
                .public_key(public)  # type: ignore[arg-type]
                .serial_number(1)
                .not_valid_before(datetime.now(UTC) - timedelta(minutes=5))
                .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
                .add_extension(_PROXY_INFO, critical=True)
                .sign(key, hashes.SHA256())  # type: ignore[arg-type]
            )
            client.stream.sendall(proxy.public_bytes(_DER) + certificate.public_bytes(_DER))
            assert client.call("srmPing").http == 200
        assert door.event_log.read_text().count("delegated=true") == before + 1

    def test_strips_proxies_from_the_dn(self, door: Door, pki: Pki, tmp_path: Path) -> None:
        answer = door.call("srmPing", user=_proxy(pki, tmp_path / "proxy"))
        assert {"key": "clientDN", "value": ALICE} in many(
            answer.value["otherInfo"], "extraInfoArray"
        )

    def test_wants_a_client_certificate(self, door: Door) -> None:
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            door.call("srmPing", user=None)  # type: ignore[arg-type]

    def test_honors_the_signing_policy(self, door: Door, pki: Pki, tmp_path: Path) -> None:
        good = _issued(pki, tmp_path / "good.pem", "Grid")
        assert door.call("srmPing", user=good).http == 200
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            door.call("srmPing", user=_issued(pki, tmp_path / "other.pem", "Other"))

    def test_refuses_an_expired_certificate(self, door: Door, pki: Pki, tmp_path: Path) -> None:
        expired = _issued(pki, tmp_path / "expired.pem", "Grid", ends=-timedelta(hours=1))
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            door.call("srmPing", user=expired)

    def test_keeps_a_connection_alive_and_reads_chunks(self, door: Door) -> None:
        with door.connect() as client:
            for chunks in (False, True, False):
                assert client.call("srmPing", chunks=chunks).value["versionInfo"] == "v2.2"
            assert client.post(b"", path="/elsewhere").http == 404
            assert client.call("srmPing").http == 200


class TestCalls:
    def test_ping_calls_itself_a_stand_in_to_anybody(self, door: Door) -> None:
        info = many(door.call("srmPing", user="mallory").value["otherInfo"], "extraInfoArray")
        told = {pair["key"]: pair["value"] for pair in info}
        assert told["backend_version"] == "cloudlet-deploy lab stand-in"
        assert told["backend_type"] == "stand-in, not BeStMan"
        assert told["fsConcurrency"] == "4"

    def test_answers_in_multirefs(self, door: Door) -> None:
        text = door.ls(door.data / "sub").text
        body = text.partition("<multiRef")[0]
        assert '<srmLsResponse href="#id0"/>' in body
        assert "statusCode" not in body
        assert 'xsi:type="srm:TStatusCode"' in text
        # One enumeration value, many references to it.
        assert text.count(">SRM_SUCCESS</multiRef>") == 1

    def test_details_of_a_file_are_those_of_the_disk(self, door: Door) -> None:
        file = door.data / "sub" / "b"
        os.utime(file, (1_700_000_000, 1_700_000_000))
        file.chmod(0o640)
        (detail,) = door.ls(file).details
        assert detail["path"] == str(file)
        assert detail["size"] == "7"
        assert detail["type"] == "FILE"
        assert detail["lastModificationTime"] == "2023-11-14T22:13:20.000Z"
        assert detail["ownerPermission"] == {"userID": file.owner(), "mode": "RW"}
        assert detail["groupPermission"] == {"groupID": file.group(), "mode": "R"}
        assert detail["otherPermission"] == "NONE"

    @pytest.mark.parametrize(
        ("levels", "found"),
        [(0, {"sub"}), (1, {"sub", "sub/b", "sub/deep"})],
    )
    def test_goes_as_deep_as_asked(self, door: Door, levels: int, found: set[str]) -> None:
        answer = door.ls(door.data / "sub", more=f"<numOfLevels>{levels}</numOfLevels>")
        assert paths(answer.details, door.data) == found
        assert paths(door.ls(door.data / "sub").details, door.data) == {"sub", "sub/b", "sub/deep"}

    def test_two_levels_down(self, door: Door) -> None:
        answer = door.ls(door.data, more="<numOfLevels>2</numOfLevels>")
        assert paths(answer.details, door.data) == {
            ".",
            "a & <b>.txt",
            "sub",
            "sub/b",
            "sub/deep",
        }

    def test_all_levels_are_not_supported(self, door: Door) -> None:
        answer = door.ls(door.data, more="<allLevelRecursive>true</allLevelRecursive>")
        assert answer.status == "SRM_NOT_SUPPORTED"

    def test_offset_and_count_are_ignored(self, door: Door) -> None:
        answer = door.ls(door.data / "sub", more="<offset>1</offset><count>1</count>")
        assert len(paths(answer.details, door.data)) == 3

    def test_a_missing_path_spoils_only_itself(self, door: Door) -> None:
        alone = door.ls(door.data / "none")
        assert alone.http == 200
        assert alone.status == "SRM_FAILURE"
        both = door.ls(door.data / "none", door.data / "sub")
        assert both.status == "SRM_PARTIAL_SUCCESS"
        codes = [detail["status"]["statusCode"] for detail in both.details]  # type: ignore[index]
        assert codes == ["SRM_INVALID_PATH", "SRM_SUCCESS"]

    def test_unmapped_is_refused_with_the_dn_and_the_gridmap(self, door: Door) -> None:
        answer = door.ls(door.data, user="mallory")
        assert answer.status == "SRM_AUTHORIZATION_FAILURE"
        assert MALLORY in answer.explanation
        assert str(door.gridmap) in answer.explanation
        assert "details" not in answer.value

    def test_the_gridmap_is_read_for_each_request(self, door: Door) -> None:
        before = door.gridmap.read_text()
        with door.connect("mallory") as client:
            inner = f"<arrayOfSURLs><urlArray>{door.surl(door.data)}</urlArray></arrayOfSURLs>"
            assert client.call("srmLs", inner).status == "SRM_AUTHORIZATION_FAILURE"
            door.gridmap.write_text(before + f'"{MALLORY}" one,two\n')
            try:
                assert client.call("srmLs", inner).status == "SRM_SUCCESS"
            finally:
                door.gridmap.write_text(before)
            assert client.call("srmLs", inner).status == "SRM_AUTHORIZATION_FAILURE"

    def test_paths_do_not_lead_out(self, door: Door) -> None:
        (door.data / "link").symlink_to("/etc")
        try:
            for path in ("/etc/hostname", door.data / "../../../etc", door.data / "link/hostname"):
                (detail,) = door.ls(path).details
                assert detail["status"]["statusCode"] == "SRM_AUTHORIZATION_FAILURE"  # type: ignore[index]
        finally:
            (door.data / "link").unlink()

    def test_another_hosts_surl_is_refused(self, door: Door) -> None:
        inner = f"<arrayOfSURLs><urlArray>srm://else.where/{door.data}</urlArray></arrayOfSURLs>"
        assert "another host" in door.call("srmLs", inner).explanation
        own = f"srm://127.0.0.1:{door.port}{door.data}"
        inner = f"<arrayOfSURLs><urlArray>{own}</urlArray></arrayOfSURLs>"
        assert door.call("srmLs", inner).status == "SRM_SUCCESS"

    def test_what_is_not_done_says_so(self, door: Door) -> None:
        assert door.call("srmReserveSpace").status == "SRM_NOT_SUPPORTED"
        unknown = door.call("srmDance")
        assert unknown.http == 500
        assert "no such operation: srmDance" in unknown.text
        with door.connect() as client:
            assert "soapenv:Client" in client.post(b"<unclosed>").text
            entity = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
            assert "root:" not in client.post(entity).text

    def test_transfer_urls_go_round_the_servers(self, door: Door) -> None:
        file = door.data / "sub" / "b"
        inner = (
            "<arrayOfFileRequests><requestArray><sourceSURL>"
            f"{door.surl(file)}</sourceSURL></requestArray></arrayOfFileRequests>"
        )
        urls = set()
        for _ in range(4):
            value = door.call("srmPrepareToGet", inner).value
            (one,) = many(value["arrayOfFileStatuses"], "statusArray")
            assert one["status"]["statusCode"] == "SRM_FILE_PINNED"  # type: ignore[index]
            urls.add(one["transferURL"])
        assert urls == {
            f"gsiftp://gftp1.lab.test/{file}",
            f"gsiftp://gftp2.lab.test:2812/{file}",
        }

    def test_put_is_prepared_and_done(self, door: Door) -> None:
        file = door.data / "put"
        inner = (
            "<arrayOfFileRequests><requestArray><targetSURL>"
            f"{door.surl(file)}</targetSURL></requestArray></arrayOfFileRequests>"
        )
        prepared = door.call("srmPrepareToPut", inner).value
        done = (
            f"<requestToken>{prepared['requestToken']}</requestToken>"
            f"<arrayOfSURLs><urlArray>{door.surl(file)}</urlArray></arrayOfSURLs>"
        )
        assert door.call("srmPutDone", done).status == "SRM_FAILURE"
        file.write_text("x")
        assert door.call("srmPutDone", done).status == "SRM_SUCCESS"
        assert door.call("srmPrepareToPut", inner).status == "SRM_FAILURE"
        file.unlink()


def _requested_key(request: bytes) -> bytes:
    """The public key in a certificate request; jglobus writes it without attributes."""

    def split(der: bytes) -> tuple[bytes, bytes, bytes]:
        start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
        length = int.from_bytes(der[2:start], "big") if start > 2 else der[1]
        return der[: start + length], der[start : start + length], der[start + length :]

    info = split(split(request)[1])[1]
    after_version = split(info)[2]
    after_subject = split(after_version)[2]
    return split(after_subject)[0]
