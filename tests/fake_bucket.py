"""A bucket on this machine: as much of the JSON interface of Google Cloud Storage as gcsfs and TensorStore ask for.

Writes are conditional on generations, as there: checkpoints depend on it.
"""

import contextlib
import http.server
import itertools
import json
import re
import threading
import urllib.parse

OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/?]+)$")
OBJECTS = re.compile(r"/(?:upload/)?storage/v1/b/([^/]+)/o/?$")


class Bucket(http.server.ThreadingHTTPServer):
    """objects: {name: (generation, bytes)}. broken: whether every request is refused."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects, self.turn = {}, threading.Lock()
        self.generations, self.uploads = itertools.count(1), {}
        self.broken = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        """Clients that go without a word are none."""

    def environment(self) -> dict[str, str]:
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def texts(self, below: str) -> dict[str, bytes]:
        return {n.removeprefix(below): data for n, (_, data) in self.objects.items() if n.startswith(below)}


@contextlib.contextmanager
def served():
    with Bucket() as bucket:
        thread = threading.Thread(target=bucket.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield bucket
        finally:
            bucket.shutdown()
            thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status: int, body: bytes | dict = b"", **headers) -> None:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        with contextlib.suppress(OSError):  # who asked may have gone
            self.send_response(status)
            for name, value in {"Content-Length": len(data), **headers}.items():
                self.send_header(name.replace("_", "-"), str(value))
            self.end_headers()
            self.wfile.write(data)

    def _info(self, name: str) -> dict:
        generation, data = self.server.objects[name]
        stamp = "2026-01-01T00:00:00.000Z"
        return {
            "kind": "storage#object", "name": name, "bucket": "bucket", "generation": str(generation),
            "metageneration": "1", "size": str(len(data)), "updated": stamp, "timeCreated": stamp, "etag": str(generation),
        }  # fmt: skip

    def _write(self, name: str, data: bytes, query: dict) -> None:
        with self.server.turn:
            now = self.server.objects.get(name, (0, b""))[0]
            if query.get("ifGenerationMatch") not in (None, str(now)):
                return self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
            self.server.objects[name] = next(self.server.generations), data
            return self._answer(200, self._info(name), Content_Type="application/json")

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.broken:
            return self._answer(403, {"error": {"code": 403, "message": "the account may not write"}})
        if found := OBJECT.match(parts.path):
            return self._object(urllib.parse.unquote(found[2]), query)
        if OBJECTS.match(parts.path):
            return self._list(query) if self.command == "GET" else self._upload(query, body)
        if re.fullmatch(r"/storage/v1/b/bucket(/storageLayout)?", parts.path):
            return self._answer(
                200, {"kind": "storage#bucket", "name": "bucket"}, Content_Type="application/json"
            )
        if query.get("upload_id") in self.server.uploads:
            return self._part(query["upload_id"], body)
        return self._answer(404, {"error": {"code": 404, "message": self.path}})

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def _object(self, name: str, query: dict) -> None:
        with self.server.turn:
            if name not in self.server.objects:
                return self._answer(404, {"error": {"code": 404, "message": f"no {name}"}})
            generation, data = self.server.objects[name]
            if self.command == "DELETE":
                del self.server.objects[name]
                return self._answer(204)
        if query.get("alt") != "media":
            return self._answer(200, self._info(name), Content_Type="application/json")
        if query.get("ifGenerationNotMatch") == str(generation):
            return self._answer(304)
        start, end = 0, len(data) - 1
        asked = re.match(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if asked:
            start = int(asked[1]) if asked[1] else max(0, len(data) - int(asked[2]))
            end = min(end, int(asked[2])) if asked[1] and asked[2] else end
        return self._answer(
            206 if asked else 200, data[start : end + 1], x_goog_generation=generation, x_goog_metageneration=1,
            Content_Type="application/octet-stream", Content_Range=f"bytes {start}-{end}/{len(data)}",
        )  # fmt: skip

    def _list(self, query: dict) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        items, folders = [], set()
        with self.server.turn:
            for name in sorted(self.server.objects):
                rest = name.removeprefix(prefix)
                inside = query.get("startOffset", "") <= name and name < query.get("endOffset", "\uffff")
                if not name.startswith(prefix) or not inside:
                    continue
                if delimiter and delimiter in rest:
                    folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                else:
                    items.append(self._info(name))
        self._answer(200, {"items": items, "prefixes": sorted(folders)}, Content_Type="application/json")

    def _part(self, number: str, body: bytes) -> None:
        name, before = self.server.uploads[number]
        self.server.uploads[number] = name, before + body
        total = (self.headers.get("Content-Range") or "/*").rpartition("/")[2]
        if total == "*" or int(total) > len(before + body):
            return self._answer(308, Range=f"bytes=0-{len(before + body) - 1}")
        del self.server.uploads[number]
        return self._write(name, before + body, {})

    def _upload(self, query: dict, body: bytes) -> None:
        kind = query.get("uploadType")
        if kind == "media":
            return self._write(query["name"], body, query)
        if kind == "resumable":
            number = str(len(self.server.uploads))
            self.server.uploads[number] = json.loads(body)["name"], b""
            return self._answer(200, Location=f"{self.server.url}/upload?upload_id={number}")
        mark = b"--" + re.search(r"boundary=[\"']?([^\"';]+)", self.headers["Content-Type"])[1].encode()
        _, about, rest = body[: body.rindex(mark)].split(mark, 2)
        inside = lambda part: re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1]
        return self._write(json.loads(inside(about))["name"], re.sub(rb"\r?\n\Z", b"", inside(rest)), query)
