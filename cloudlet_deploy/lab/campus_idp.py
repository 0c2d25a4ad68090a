"""The campus's OIDC provider: oidc-provider-mock of PyPI with TLS, one client and a lasting key.

Not imported by the lab: it runs on the host ``idp.lab.test``, by ``campus_idp.py SETTINGS STATE``.
SETTINGS is a JSON file, {client: {id, secret, redirect_uris}, people: {sub: claims}}; STATE is a
directory that keeps the key which tokens are signed with, so that a restart makes no session void.

Anybody on the lab's network may change a person's claims, until the next restart:
``PUT /users/SUB`` with the claims as JSON. That is what makes it a provider for tests.
"""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
from __future__ import annotations

import json
import sys
from pathlib import Path

import uvicorn
from authlib import jose
from oidc_provider_mock import User, app
from oidc_provider_mock._storage import Client, ClientAllowAny, storage

CERTIFICATE, KEY = "/etc/campus/hostcert.pem", "/run/campus/hostkey.pem"


def signing_key(state: Path) -> jose.RSAKey:
    """The key in ``state``, made at the first start."""
    kept = state / "signing-key.pem"
    if not kept.exists():
        kept.touch(mode=0o600)
        made = jose.RSAKey.generate_key(is_private=True)
        kept.write_bytes(made.as_pem(is_private=True))
    return jose.RSAKey.import_key(kept.read_bytes())


def main(settings_file: str, state: str) -> None:
    """Serve on port 443 until told to end."""
    settings = json.loads(Path(settings_file).read_text())
    key = signing_key(Path(state))
    client = Client(
        **settings["client"],
        allowed_scopes=Client.SCOPES_SUPPORTED,
        token_endpoint_auth_method=ClientAllowAny(),
    )
    provider = app(
        require_client_registration=True,
        user_claims=[User(sub=sub, claims=claims) for sub, claims in settings["people"].items()],
    )

    # The provider's storage is within reach only while it answers a request.
    @provider.before_request
    def know() -> None:
        storage.jwk = key
        storage.store_client(client)

    uvicorn.run(
        provider,
        interface="wsgi",
        host="0.0.0.0",
        port=443,
        ssl_certfile=CERTIFICATE,
        ssl_keyfile=KEY,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
