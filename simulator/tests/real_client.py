"""The real Python client, unmodified, against the simulator; and what it sends, recorded.

    real_client.py --prove URL    runs every function against the simulator at URL, and prints counts
    real_client.py --record       prints the requests that the client makes, as JSON

The requests are recorded by a server of this file, so that the record owes nothing to the simulator.
"""

import argparse
import base64
import contextlib
import http.server
import json
import os
import sys
import threading

import requests

ORGANIZATION = "1410000000000"
SECRET = "3053595942757"
OTHER_SECRET = "3053595942758"

CREDENTIALS = {
    "bearer": {"auth_token": "t-bearer"},
    "user": {"user_id": "7", "personal_access_token": "t-user"},
    "datasource": {"datasource_id": "8", "datasource_secret": "t-datasource"},
}

# Every function of the two modules that the simulator answers, with arguments that fit the record.
FUNCTIONS = {
    "create_secret_version": (ORGANIZATION, SECRET, "AKIAIOSFODNN7EXAMPLE"),
    "get_secret_version": (ORGANIZATION, SECRET, "1234567890123"),
    "get_secret_versions": (ORGANIZATION, SECRET, 100, 100),
    "update_secret_version": (ORGANIZATION, SECRET, "1234567890123", "inactive"),
    "delete_secret_version": (ORGANIZATION, SECRET, "1234567890123"),
    "get_secrets": (ORGANIZATION, 100, 100),
    "get_secret": (ORGANIZATION, SECRET),
}


class Client:
    """Both clients of the SDK as one, so that a function is found by its name alone."""

    def __init__(self, credential):
        import abeja.secret
        import abeja.secret_version

        # A copy: the SDK writes prefixes into the dictionary that it is given. One retry is the
        # least it can be told to make.
        self.parts = [
            module.APIClient(credential=credential and dict(credential), timeout=10, max_retry_count=1)
            for module in (abeja.secret_version, abeja.secret)
        ]

    def __getattr__(self, name):
        for part in self.parts:
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(name)


# --- prove -------------------------------------------------------------------------------------


class Simulator:
    """The control API."""

    def __init__(self, url):
        self.url = url + "/_control"
        # Proxies of the environment are for the world, not for loopback.
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method, path, body=None):
        answer = self.session.request(method, self.url + path, json=body, timeout=10)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def seed(self, versions=0, secrets=2, settings=None, rights=None):
        """A fresh world: one secret with that many versions, and that many secrets in all."""
        rows = [{"value": f"value-{number}"} for number in range(versions)]
        known = [
            {"id": SECRET, "name": "db-password", "versions": rows},
            {"id": OTHER_SECRET, "name": "smtp-relay"},
        ]
        more = [{"id": f"s{number}", "name": f"more-{number}"} for number in range(2, secrets)]
        credentials = [
            {"name": "bearer", "kind": "bearer", "token": "t-bearer"},
            {"name": "user", "kind": "user", "id": "7", "token": "t-user"},
            {"name": "datasource", "kind": "datasource", "id": "8", "token": "t-datasource"},
        ]
        for credential in credentials:
            credential["rights"] = rights or {}
        self.call("PUT", "/seed", {
            "settings": settings or {},
            "organizations": [{"id": ORGANIZATION, "secrets": (known + more)[:secrets]}],
            "credentials": credentials,
        })

    def fault(self, action, count=None):
        fault = {"action": action}
        if count is not None:
            fault["count"] = count
        self.call("POST", "/faults", fault)

    def clear_faults(self):
        self.call("DELETE", "/faults")

    def journal(self):
        return self.call("GET", "/journal")["entries"]

    def versions(self):
        secrets = self.call("GET", "/state")["organizations"][0]["secrets"]
        return secrets[0]["versions"]


class Proof:
    """The cases, and how many there were."""

    def __init__(self, simulator):
        self.simulator = simulator
        self.cases = 0

    @contextlib.contextmanager
    def case(self, name):
        try:
            yield
        except Exception as error:
            sys.exit(f"case `{name}`: {type(error).__name__}: {error}")
        self.cases += 1

    def equal(self, name, got, expected):
        with self.case(name):
            if got != expected:
                raise AssertionError(f"{got!r} is not {expected!r}")

    def refused(self, name, status, function, *arguments):
        """The exception that the SDK has for this status, with the simulator's own words in it."""
        from abeja import exceptions

        expected = {
            400: exceptions.BadRequest,
            401: exceptions.Unauthorized,
            403: exceptions.Forbidden,
            404: exceptions.NotFound,
            405: exceptions.MethodNotAllowed,
            409: exceptions.Conflict,
            500: exceptions.InternalServerError,
        }.get(status, exceptions.HttpError)
        with self.case(name):
            try:
                function(*arguments)
            except exceptions.HttpError as error:
                if type(error) is not expected or error.status_code != status or not error.url:
                    raise AssertionError(f"{error!r} is not {expected.__name__}") from error
                return error
            raise AssertionError("it was not refused")

    # What is proved.

    def life(self, kind, credential):
        """A version through all seven functions and both states."""
        self.simulator.seed()
        client = Client(credential)
        created = client.create_secret_version(ORGANIZATION, SECRET, "pässwörd\n")
        members = {"id", "organization_id", "secret_id", "version", "status", "provider", "value",
                   "created_at", "updated_at"}
        self.equal(f"{kind}: members of a version", set(created), members)
        fixed = {"organization_id": ORGANIZATION, "secret_id": SECRET, "version": 1, "status": "active",
                 "provider": "aws-secret-manager", "value": "pässwörd\n"}
        self.equal(f"{kind}: create", {name: created[name] for name in fixed}, fixed)
        version = created["id"]
        self.equal(f"{kind}: get", client.get_secret_version(ORGANIZATION, SECRET, version), created)
        page = {"count": 1, "has_next": False, "limit": 50, "offset": 0}
        self.equal(f"{kind}: list", client.get_secret_versions(ORGANIZATION, SECRET),
                   {"pagination": page, "versions": [created]})
        for state in ("inactive", "inactive", "active"):
            updated = client.update_secret_version(ORGANIZATION, SECRET, version, state)
            self.equal(f"{kind}: update to {state}", (updated["id"], updated["status"]), (version, state))
            shown = client.get_secret_version(ORGANIZATION, SECRET, version)
            self.equal(f"{kind}: get {state}", (shown["status"], shown["value"]), (state, "pässwörd\n"))
        secret = client.get_secret(ORGANIZATION, SECRET)
        self.equal(f"{kind}: secret", (secret["id"], secret["name"], secret["versions"]),
                   (SECRET, "db-password", [shown]))
        members = {"id", "organization_id", "user_id", "name", "description", "expired_at", "properties",
                   "provider", "rotation", "integration_service_type", "integration_service_ids",
                   "created_at", "updated_at", "versions"}
        self.equal(f"{kind}: members of a secret", set(secret), members)
        secrets = client.get_secrets(ORGANIZATION)
        self.equal(f"{kind}: secrets", secrets["secrets"][0], secret)
        self.equal(f"{kind}: members of secrets", set(secrets),
                   {"organization_id", "secrets", "offset", "limit", "has_next"})
        self.equal(f"{kind}: delete", client.delete_secret_version(ORGANIZATION, SECRET, version),
                   {"message": f"secret_version_id {version} successfully deleted"})
        self.equal(f"{kind}: gone", client.get_secret_versions(ORGANIZATION, SECRET)["versions"], [])
        self.equal(f"{kind}: the journal knows who it was",
                   self.simulator.journal()[-1]["credential"], kind)

    def paging(self, kind, credential):
        """Every row once, at the sizes where paging goes wrong."""
        client = Client(credential)
        for rows in (0, 1, 100, 101):
            pages = max(1, -(-rows // 100))
            self.simulator.seed(versions=rows)
            self.equal(f"{kind}: {rows} versions", self.all_pages(client, "versions", ORGANIZATION, SECRET),
                       (list(range(1, rows + 1)), pages))
            self.simulator.seed(secrets=rows)
            names, read = self.all_pages(client, "secrets", ORGANIZATION)
            self.equal(f"{kind}: {rows} secrets", (len(set(names)), read), (rows, pages))

    def all_pages(self, client, what, *place):
        rows, pages = [], 0
        while True:
            if what == "versions":
                page = client.get_secret_versions(*place, offset=len(rows), limit=100)
                rows += [row["version"] for row in page["versions"]]
                more = page["pagination"]["has_next"]
            else:
                page = client.get_secrets(*place, offset=len(rows), limit=100)
                rows += [row["name"] for row in page["secrets"]]
                more = page["has_next"]
            pages += 1
            if not more:
                return rows, pages

    def errors(self, kind, credential):
        """Each error where it arises by itself."""
        self.simulator.seed(versions=1, settings={"last_active_version": "refuse", "max_value_bytes": 8})
        client = Client(credential)
        stranger = Client({name: text + "-wrong" for name, text in credential.items()})
        version = self.simulator.versions()[0]["id"]
        one = (ORGANIZATION, SECRET, version)
        refused = self.refused
        error = refused(f"{kind}: 400", 400, client.create_secret_version, ORGANIZATION, SECRET, "too long a value")
        self.equal(f"{kind}: 400 says why", error.error_description, '"value" must not be larger than 8 bytes')
        refused(f"{kind}: 404 version", 404, client.get_secret_version, ORGANIZATION, SECRET, "9")
        refused(f"{kind}: 404 secret", 404, client.get_secret, ORGANIZATION, "9")
        refused(f"{kind}: 404 organization", 404, client.get_secrets, "9")
        refused(f"{kind}: 405", 405, client.create_secret, ORGANIZATION, "name", "value")
        refused(f"{kind}: 409 delete", 409, client.delete_secret_version, *one)
        refused(f"{kind}: 409 update", 409, client.update_secret_version, *one, "inactive")
        for name, arguments in FUNCTIONS.items():
            refused(f"{kind}: 401 {name}", 401, getattr(stranger, name), *arguments)
        self.simulator.seed(versions=1, rights={"read_only": True, "refuse_list_secrets": 405})
        refused(f"{kind}: 403 create", 403, client.create_secret_version, ORGANIZATION, SECRET, "v")
        refused(f"{kind}: 403 update", 403, client.update_secret_version, *one, "inactive")
        refused(f"{kind}: 403 delete", 403, client.delete_secret_version, *one)
        refused(f"{kind}: 405 list", 405, client.get_secrets, ORGANIZATION)
        self.simulator.seed(rights={"organizations": ["1"]})
        refused(f"{kind}: 403 organization", 403, client.get_secret, ORGANIZATION, SECRET)

    def scripted_errors(self, kind, credential):
        """Every function under every error, and bodies that are not JSON."""
        self.simulator.seed()
        client = Client(credential)
        for status in (400, 401, 403, 404, 405, 409, 500, 429):
            self.simulator.fault({"status": {"code": status}})
            for name, arguments in FUNCTIONS.items():
                error = self.refused(f"{kind}: {name} under {status}", status, getattr(client, name), *arguments)
                self.equal(f"{kind}: {name} under {status} is described", error.error_description,
                           "a fault of the simulator")
            self.simulator.clear_faults()
        for body in ("html", "empty"):
            self.simulator.fault({"status": {"code": 404, "body": body}})
            self.refused(f"{kind}: {body} body", 404, client.get_secret, ORGANIZATION, SECRET)
            self.simulator.clear_faults()

    def bytes_that_are_no_text(self):
        self.simulator.seed()
        value = base64.b64encode(bytes([0x00, 0xFF, 0x0A])).decode()
        place = {"organization_id": ORGANIZATION, "secret_id": SECRET}
        self.simulator.call("POST", "/versions", {"create": {**place, "value_base64": value}})
        client = Client(CREDENTIALS["bearer"])
        page = client.get_secret_versions(ORGANIZATION, SECRET)
        self.equal("bytes stay base64", page["versions"][0]["value"], value)

    def repeated_creation(self):
        """Why our client must not do likewise."""
        self.simulator.seed()
        self.simulator.fault({"status": {"code": 502, "committed": True}}, count=1)
        created = Client(CREDENTIALS["bearer"]).create_secret_version(ORGANIZATION, SECRET, "once")
        self.equal("one call, two versions", (created["version"], len(self.simulator.versions())), (2, 2))

    def environment(self):
        """The order in which credentials of the environment are preferred."""
        self.simulator.seed()
        variables = {
            "bearer": {"PLATFORM_AUTH_TOKEN": "t-bearer"},
            "user": {"ABEJA_PLATFORM_USER_ID": "7", "ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN": "t-user"},
            "datasource": {"ABEJA_PLATFORM_DATASOURCE_ID": "8", "ABEJA_PLATFORM_DATASOURCE_SECRET": "t-datasource"},
        }
        for kind in ("datasource", "user", "bearer"):
            os.environ.update(variables[kind])
            Client(None).get_secrets(ORGANIZATION)
            self.equal(f"{kind} of the environment", self.simulator.journal()[-1]["credential"], kind)
        for names in variables.values():
            for name in names:
                del os.environ[name]


def prove(url):
    # The SDK reads it once, when it is imported.
    os.environ["ABEJA_API_URL"] = url
    from abeja import VERSION

    simulator = Simulator(url)
    simulator.call("DELETE", "/journal")
    proof = Proof(simulator)
    for kind, credential in CREDENTIALS.items():
        proof.life(kind, credential)
        proof.paging(kind, credential)
        proof.errors(kind, credential)
        proof.scripted_errors(kind, credential)
    proof.bytes_that_are_no_text()
    proof.repeated_creation()
    proof.environment()

    entries = simulator.journal()
    agents = {entry["headers"].get("user-agent") for entry in entries}
    proof.equal("every request is the client's", agents, {f"abeja-platform-sdk/{VERSION}"})
    operations = sorted({entry["operation"] for entry in entries if entry["operation"]})
    proof.equal("every call was made", operations, sorted([
        "create_version", "delete_version", "get_secret", "get_version", "list_secrets",
        "list_versions", "update_version"]))
    return {"client": VERSION, "calls": len(entries), "cases": proof.cases, "operations": operations}


# --- record ------------------------------------------------------------------------------------


class Recorder(http.server.BaseHTTPRequestHandler):
    """Keeps each request, and answers what every function of the SDK can read."""

    protocol_version = "HTTP/1.1"
    seen = []

    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append({
            "method": self.command,
            "path": path,
            "query": query,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body_base64": base64.b64encode(body).decode(),
        })
        answer = b'{"versions": [], "secrets": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


def record():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["ABEJA_API_URL"] = f"http://127.0.0.1:{server.server_port}"
    recorded = []
    for kind, credential in CREDENTIALS.items():
        client = Client(credential)
        for name, arguments in FUNCTIONS.items():
            Recorder.seen.clear()
            getattr(client, name)(*arguments)
            [request] = Recorder.seen
            recorded.append({"function": name, "arguments": arguments, "credential": kind, **request})
    server.shutdown()
    return recorded


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--prove", metavar="URL", help="of a running simulator, whose state is replaced")
    mode.add_argument("--record", action="store_true", help="print what the client sends")
    arguments = parser.parse_args()
    # Requests to loopback go to no proxy, and no credential comes from outside.
    os.environ["NO_PROXY"] = "127.0.0.1"
    for name in [name for name in os.environ if name.startswith(("ABEJA_", "PLATFORM_"))]:
        del os.environ[name]
    result = prove(arguments.prove) if arguments.prove else record()
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
