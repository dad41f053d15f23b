"""How the broker of the tests is secured beside its plain listener: certificates, one listener that asks for a client's, and one for SCRAM and tokens.

Tokens come from an endpoint in this process. Its broker trusts what they say without a signature, which is for tests only.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

USER, PASSWORD = "payout", "p4ss/word+of:tests"
CLIENT, SECRET = "payout client", "s3cret:/%"


class Authority:
    """Certificates in a folder, all signed by one authority."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key, self._name = folder, generate_private_key(SECP256R1()), _named(name)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self._signed(self._name, self._key, authority=True).public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a new certificate, good for 127.0.0.1, and of its key."""
        key = generate_private_key(SECP256R1())
        certificate, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(self._signed(_named(name), key).public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key_file

    def _signed(self, subject: x509.Name, key: EllipticCurvePrivateKey, *, authority: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
        made = made.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if not authority:
            made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        return made.sign(self._key, SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Secured:
    """The secured listeners of a broker on four ports, the first two of which are those of its plain listener and its controller."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.authority = Authority(folder / "authority", "tests")
        certificate, key_file = self.authority.issue("broker")
        both = folder / "broker.pem"
        both.write_bytes(key_file.read_bytes() + certificate.read_bytes())
        self.mutual, self.sasl = f"127.0.0.1:{port + 2}", f"127.0.0.1:{port + 3}"
        clients = f"PLAINTEXT://127.0.0.1:{port},SSL://{self.mutual},SASL_SSL://{self.sasl}"
        login = "org.apache.kafka.common.security"
        self.settings: Mapping[str, object] = {
            "listeners": f"{clients},CONTROLLER://127.0.0.1:{port + 1}", "advertised.listeners": clients,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL",
            "ssl.keystore.type": "PEM", "ssl.keystore.location": both, "ssl.truststore.type": "PEM", "ssl.truststore.location": self.authority.ca_file,
            "listener.name.ssl.ssl.client.auth": "required", "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
            "listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms": 3_600_000,  # a session ends with its token
            "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config": f"{login}.oauthbearer.OAuthBearerLoginModule required;",
        }  # fmt: skip
        self.formatting = ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"]

    def over_tls(self) -> dict[str, str]:
        """The settings of a client with a certificate, as variables."""
        certificate, key_file = self.authority.issue("worker")
        return _variables(servers=self.mutual, security="ssl", ca_file=self.authority.ca_file, cert_file=certificate, key_file=key_file)

    def over_scram(self, password: str = PASSWORD) -> dict[str, str]:
        """The settings of a client with a password, as variables."""
        return _variables(
            servers=self.sasl, security="sasl_ssl", sasl_mechanism="SCRAM-SHA-512", username=USER, password=password, ca_file=self.authority.ca_file
        )

    def over_tokens(self, url: str, secret: str = SECRET) -> dict[str, str]:
        """The settings of a client with tokens, as variables."""
        return _variables(
            servers=self.sasl, security="sasl_ssl", sasl_mechanism="OAUTHBEARER", username=CLIENT, password=secret, ca_file=self.authority.ca_file,
            token_url=url, token_scope="kafka",
        )  # fmt: skip


def _variables(**settings: object) -> dict[str, str]:
    return {f"PAYOUT_KAFKA__{name.upper()}": str(value) for name, value in settings.items()}


class TokenEndpoint:
    """Gives tokens to the one client that it knows."""

    def __init__(self, life_s: int) -> None:
        self.life_s, self.given, self.scopes, self.url = life_s, 0, set[str](), ""
        self.says: object = None
        """What it answers whoever asks, if it is set."""

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, object]:
        """Status and document of an answer."""
        if self.says is not None:
            return 200, self.says
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if (urllib.parse.unquote(name), urllib.parse.unquote(secret)) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        if form["grant_type"] != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        self.given += 1
        self.scopes.update(form.get("scope", []))
        now = int(time.time())
        parts = [{"alg": "none"}, {"sub": name, "iat": now, "exp": now + self.life_s, "scope": "kafka"}]
        token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.life_s}


@contextmanager
def token_endpoint(life_s: int = 300) -> Iterator[TokenEndpoint]:
    """An endpoint that answers while the block runs."""
    endpoint = TokenEndpoint(life_s)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, document = endpoint.answer(self.headers["Authorization"], form)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/token"
        try:
            yield endpoint
        finally:
            server.shutdown()
