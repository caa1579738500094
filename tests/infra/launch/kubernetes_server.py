"""What kubectl speaks to in tests: the part of Kubernetes' API that it uses, over TLS on loopback, for one token.

There is no API server in the registries that this project may use. So kubectl itself is real, and this answers it:
discovery, objects kept in memory, strict validation by the schemas of KubeRay and Kubernetes (`schemas`), logs. No
controller stands behind it: a test gives a job its status and its pods.
"""

import datetime
import ipaddress
import json
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.infra.launch.schemas import check

TOKEN = "a-token-of-this-test"
KINDS = {
    "api/v1": {"pods": "Pod", "secrets": "Secret", "persistentvolumeclaims": "PersistentVolumeClaim", "nodes": "Node"},
    "apis/ray.io/v1": {"rayjobs": "RayJob", "rayclusters": "RayCluster"},
    "apis/networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "apis/kueue.x-k8s.io/v1beta1": {"localqueues": "LocalQueue"},
    "apis/authorization.k8s.io/v1": {"selfsubjectaccessreviews": "SelfSubjectAccessReview"},
}
CLUSTER_WIDE = ("nodes", "selfsubjectaccessreviews")
VERBS = ["create", "delete", "get", "list", "watch"]


class Server:
    """objects: (resource, name) -> object. logs: pod -> text. asked: method and path of each request. missing: groups
    that are not installed. forbidden: resources that may not be read."""

    def __init__(self, schemas: Path) -> None:
        self.schemas, self.objects, self.logs = schemas, dict[tuple[str, str], dict[str, Any]](), dict[str, str]()
        self.asked, self.missing, self.forbidden = list[str](), set[str](), set[str]()

    def groups(self) -> dict[str, dict[str, str]]:
        return {path: kinds for path, kinds in KINDS.items() if path.split("/")[1] not in self.missing}

    def answer(self, method: str, url: str, sent: dict[str, Any] | None) -> tuple[int, Any]:
        """The status and the JSON (or text) for a request."""
        parts = urlsplit(url)
        words, query = parts.path.strip("/").split("/"), parse_qs(parts.query)
        self.asked.append(f"{method} {parts.path}")
        if words == ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if words == ["apis"]:
            found = [path.split("/")[1:] for path in self.groups() if path.startswith("apis/")]
            versions = [{"groupVersion": f"{group}/{version}", "version": version} for group, version in found]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                {"name": group, "versions": [each], "preferredVersion": each}
                for (group, _), each in zip(found, versions, strict=True)]}
        if words[:2] == ["openapi", "v3"]:
            return 200, self._openapi("/".join(words[2:]))
        path = "/".join(words[:2] if words[0] == "api" else words[:3])
        if path not in self.groups():
            return failure(404, "NotFound", "the server could not find the requested resource")
        rest = words[len(path.split("/")):]
        if not rest:
            return 200, {"kind": "APIResourceList", "groupVersion": path.split("/", 1)[1], "resources": [
                {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": name not in CLUSTER_WIDE,
                 "verbs": VERBS} for name, kind in KINDS[path].items()]}
        if rest[0] == "namespaces" and len(rest) == 2:
            return 200, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": rest[1]}}
        resource, *name = rest[2:] if rest[0] == "namespaces" else rest
        return self._object(method, path, resource, name, query, sent)

    def _object(self, method: str, path: str, resource: str, name: list[str], query: dict[str, list[str]],
                sent: dict[str, Any] | None) -> tuple[int, Any]:
        version = path.split("/", 1)[1]
        if resource in self.forbidden:
            return failure(403, "Forbidden", f'{resource} is forbidden: User "me" cannot do this')
        if resource == "selfsubjectaccessreviews":
            return 201, {"kind": KINDS[path][resource], "apiVersion": version, "status": {"allowed": True}}
        if method == "POST" and sent:
            try:
                check(sent, self.schemas)
            except Exception as error:  # of two libraries
                return failure(400, "BadRequest", f"strict decoding error: {str(error).splitlines()[0]}")
            sent["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
            key = (resource, sent["metadata"]["name"])
            if key in self.objects:
                return failure(409, "AlreadyExists", f"{key[1]} already exists")
            if "dryRun" not in query:
                self.objects[key] = sent
            return 201, sent
        if not name:
            wanted = dict(each.split("=") for each in query.get("labelSelector", [""])[0].split(",") if each)
            items = [each for (kind, _), each in self.objects.items() if kind == resource
                     and wanted.items() <= each["metadata"].get("labels", {}).items()]
            return 200, {"kind": f"{KINDS[path][resource]}List", "apiVersion": version, "metadata": {}, "items": items}
        if name[1:] == ["log"]:
            return 200, self.logs[name[0]]
        if name[1:] == ["exec"]:
            return failure(501, "NotImplemented", "no exec here")
        if (resource, name[0]) not in self.objects:
            return failure(404, "NotFound", f'{resource} "{name[0]}" not found')
        if method == "DELETE":
            self._delete(resource, name[0])
            return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return 200, self.objects[resource, name[0]]

    def _delete(self, resource: str, name: str) -> None:
        """An object, and those that it owns, as Kubernetes' collector does."""
        gone = self.objects.pop((resource, name))["metadata"].get("uid")
        for key, each in list(self.objects.items()):
            if any(owner["uid"] == gone for owner in each["metadata"].get("ownerReferences", ())):
                del self.objects[key]

    def _openapi(self, path: str) -> dict[str, Any]:
        """That every object is validated here on request (`fieldValidation`), as kubectl wants to know."""
        if not path:
            return {"paths": {each: {"serverRelativeURL": f"/openapi/v3/{each}?hash=1"} for each in self.groups()}}
        group, version = (["", "v1"] if path == "api/v1" else path.split("/")[1:])
        taken = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("fieldValidation", "dryRun")]
        return {"openapi": "3.0.0", "info": {"title": "test", "version": "1"}, "paths": {
            f"/{path}/{name}": {"patch": {
                "parameters": taken, "responses": {},
                "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind}}}
            for name, kind in KINDS[path].items()}}


def failure(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    """Kubernetes' Status of a refusal."""
    return code, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                  "reason": reason, "message": message}


@contextmanager
def kubernetes(folder: Path, schemas: Path) -> Iterator[tuple[Server, Path]]:
    """A running server, and the file for KUBECONFIG that leads kubectl to it."""
    server = Server(schemas)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                code, said = failure(401, "Unauthorized", "Unauthorized")
            else:
                text = "json" in self.headers.get("Content-Type", "")  # some of Kubernetes' own come as protobuf
                code, said = server.answer(self.command, self.path, json.loads(body) if body and text else None)
            written = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(said, str) else "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST = do_DELETE = do_PATCH = _any

        def log_message(self, format: str, *words: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.socket = _encrypted(folder).wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    address = f"https://127.0.0.1:{listening.server_port}"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "c", "cluster": {"server": address,
                                               "certificate-authority": str(folder / "certificate.pem")}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "me", "namespace": "faces"}}]}
    (folder / "config").write_text(json.dumps(config))
    (folder / "config").chmod(0o600)
    try:
        yield server, folder / "config"
    finally:
        listening.shutdown()
        listening.server_close()


def _encrypted(folder: Path) -> ssl.SSLContext:
    """TLS with a certificate for loopback: kubectl sends a token over nothing less."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    begun = datetime.datetime(2026, 1, 1)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(begun).not_valid_after(begun + datetime.timedelta(days=36500))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True).sign(key, hashes.SHA256()))
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
