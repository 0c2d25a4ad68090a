"""The throw-away CA, judged by OpenSSL."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from cloudlet_deploy.lab import ca

HOSTS = ("door.lab.test", "data1.lab.test")


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> ca.Pki:
    made = ca.Pki(tmp_path_factory.mktemp("pki"))
    made.ensure(HOSTS)
    return made


def test_ca_is_found_under_both_hashes_with_policy_and_crl(pki: ca.Pki) -> None:
    authority = pki.directory / "ca" / "cert.pem"
    hashes = {
        openssl("x509", "-noout", f"-{kind}", "-in", authority)
        for kind in ("subject_hash", "subject_hash_old")
    }
    assert len(hashes) == 2
    names = {path.name for path in pki.certificates.iterdir()}
    assert names == {f"{h}.{suffix}" for h in hashes for suffix in ("0", "r0", "signing_policy")}


@pytest.mark.parametrize("name", ["Alice Lab", "  Two   Spaces ", "Zoë", "UPPER.lower-1"])
def test_hashes_are_those_of_openssl(tmp_path: Path, name: str) -> None:
    key = ca._new_key()
    subject = ca.distinguished_name(name)
    certificate = ca._builder(subject, subject, key, timedelta(days=1)).sign(
        key, ca.hashes.SHA256()
    )
    path = tmp_path / "cert.pem"
    path.write_bytes(certificate.public_bytes(ca.serialization.Encoding.PEM))
    assert ca.subject_hash(subject) == openssl("x509", "-noout", "-subject_hash", "-in", path)
    assert ca.subject_hash_old(subject) == openssl(
        "x509", "-noout", "-subject_hash_old", "-in", path
    )


@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
def test_host_certificates_verify_with_the_revocation_list(pki: ca.Pki, purpose: str) -> None:
    for host in HOSTS:
        openssl(
            "verify", "-x509_strict", "-crl_check", "-purpose", purpose, "-verify_hostname", host,
            "-CApath", pki.certificates, pki.host(host) / "hostcert.pem",
        )  # fmt: skip


def test_a_host_may_have_further_names(tmp_path: Path) -> None:
    made = ca.Pki(tmp_path)
    made.ensure(HOSTS, {"door.lab.test": ("page.door.lab.test",)})
    for host, names in {"door": "door page.door", "data1": "data1"}.items():
        certificate = made.host(f"{host}.lab.test") / "hostcert.pem"
        found = openssl("x509", "-noout", "-ext", "subjectAltName", "-in", certificate)
        wanted = ", ".join(f"DNS:{name}.lab.test" for name in names.split())
        assert found.splitlines()[1].strip() == wanted


def test_user_certificates_verify_and_carry_their_names(pki: ca.Pki) -> None:
    for user, common_name in ca.USERS.items():
        certificate = pki.user(user) / "usercert.pem"
        openssl("verify", "-crl_check", "-purpose", "sslclient", "-CApath", pki.certificates,
                certificate)  # fmt: skip
        subject = openssl("x509", "-noout", "-subject", "-nameopt", "compat", "-in", certificate)
        assert subject == f"subject=/O=Grid/OU=lab/CN={common_name}"


def test_keys_match_are_private_and_pkcs8(pki: ca.Pki) -> None:
    pairs = [(pki.host(h) / "hostcert.pem", pki.host(h) / "hostkey.pem") for h in HOSTS]
    pairs += [(pki.user(u) / "usercert.pem", pki.user(u) / "userkey.pem") for u in ca.USERS]
    for certificate, key in pairs:
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
        assert openssl("x509", "-noout", "-pubkey", "-in", certificate) == openssl(
            "pkey", "-pubout", "-in", key
        )
    assert (pki.directory / "ca" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_signing_policy_covers_what_the_ca_signs(pki: ca.Pki) -> None:
    policy = next(pki.certificates.glob("*.signing_policy")).read_text()
    assert "access_id_CA X509 '/O=Grid/OU=lab/CN=Throw-away CA'" in policy
    assert "cond_subjects globus '\"/O=Grid/OU=lab/*\"'" in policy


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_second_time_changes_nothing_and_a_new_host_adds_only_its_own(pki: ca.Pki) -> None:
    before = snapshot(pki.directory)
    pki.ensure(HOSTS)
    assert snapshot(pki.directory) == before
    pki.ensure((*HOSTS, "new.lab.test"))
    after = snapshot(pki.directory)
    assert {name: after[name] for name in before} == before
    assert {Path(n).parent.name for n in after.keys() - before.keys()} == {"new.lab.test"}


def test_what_is_about_to_expire_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki = ca.Pki(tmp_path)
    monkeypatch.setattr(ca, "_LIFE", timedelta(days=29))
    pki.ensure(HOSTS[:1])
    before = snapshot(tmp_path)
    monkeypatch.undo()
    pki.ensure(HOSTS[:1])
    after = snapshot(tmp_path)
    changed = {Path(name).name for name in before if before[name] != after[name]}
    expected = {"hostcert.pem", "hostkey.pem", "usercert.pem", "userkey.pem"}
    assert changed == expected | {p.name for p in pki.certificates.glob("*.r0")}


def test_certificates_of_another_ca_are_made_anew(tmp_path: Path) -> None:
    pki = ca.Pki(tmp_path)
    pki.ensure(HOSTS[:1])
    for path in (tmp_path / "ca").iterdir():
        path.unlink()
    for path in pki.certificates.iterdir():
        path.unlink()
    pki.ensure(HOSTS[:1])
    openssl("verify", "-crl_check", "-CApath", pki.certificates,
            pki.host(HOSTS[0]) / "hostcert.pem")  # fmt: skip
