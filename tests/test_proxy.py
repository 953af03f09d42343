"""The server below a path of a site, also behind a real proxy."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import soon
from served import DEADLINE, Process, Serve
from test_serve import TOKEN, serving

from clipsearch.errors import InvalidInput
from clipsearch.web.server import check_access

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
CONFIG = """
daemon off;
{user}
pid {folder}/pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_types application/json text/javascript;
    gzip_min_length 1;
    gzip_proxied any;
    client_max_body_size 32m;
    server {{
        listen 127.0.0.1:{port};
        location /photos/ {{
            proxy_pass {address}{taken_off};
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}
}}
"""


def test_all_is_below_the_path(indexed: Path, photos: Path) -> None:
    with serving(indexed, photos, root="/photos", token=TOKEN) as server:
        client = server.client
        refused = client.get("/photos/")
        assert refused.status_code == 401
        assert "open /photos/?token= and" in refused.json()["error"]
        opened = client.get("/photos/", params={"token": TOKEN}, follow_redirects=False)
        assert (opened.status_code, opened.headers["location"]) == (303, "/photos/")
        assert "Path=/photos/;" in opened.headers["set-cookie"]
        assert server.get("/photos/api/status")["photos"] == 12
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        beside = client.get("/photos?q=a+boat", follow_redirects=False)
        assert (beside.status_code, beside.headers["location"]) == (308, "/photos/?q=a+boat")
        for path, right in (("/api/status/", "/api/status"), ("/static", "/static/")):
            led = client.get(f"/photos{path}?k=1", follow_redirects=False)
            assert (led.status_code, led.headers["location"]) == (307, f"/photos{right}?k=1")
        assert server.get("/photos/openapi.json")["servers"] == [{"url": "/photos"}]
        assert server.get("/api/status")["photos"] == 12  # a proxy may take the path off
        page = client.get("/photos/").text
        assert '="/' not in page  # which would lead to what is beside it
        assert '="/' not in client.get("/photos/docs").text


@pytest.mark.parametrize("path", ["photos", "/a b", "//", "/a//b", "/a?b", '/"><script>'])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    if path == "//":
        assert check_access("127.0.0.1", None, [], path).root == ""
        return
    with pytest.raises(InvalidInput, match="write it as /photos"):
        check_access("127.0.0.1", None, [], path)


@contextmanager
def proxied(server: Process, folder: Path, taken_off: str) -> Iterator[int]:
    """nginx before a server; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    address = f"http://127.0.0.1:{server.port}"
    text = CONFIG.format(
        folder=folder, port=port, address=address, taken_off=taken_off,
        user="user root;" if os.geteuid() == 0 else "",
    )  # fmt: skip
    (folder / "nginx.conf").write_text(text)
    assert NGINX
    command = [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        soon(lambda: process.poll() is not None or is_open(port))
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


def asked(port: int, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    own = {"Host": "photos.example", "Authorization": f"Bearer {TOKEN}"}
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        connection.request("GET" if body is None else "POST", path, body, own)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
@pytest.mark.parametrize("taken_off", ["", "/"], ids=["whole", "taken off"])
def test_behind_nginx_it_is_as_without(
    indexed: Path, photos: Path, serve: Serve, tmp_path: Path, taken_off: str
) -> None:
    access = {"root_path": "/photos", "token": TOKEN, "origins": ["https://photos.example"]}
    server = serve(ACCESS=json.dumps(access))
    with proxied(server, tmp_path / "nginx", taken_off) as port:
        packed = asked(port, "/photos/api/search?q=a+boat", Accept_Encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        found = json.loads(gzip.decompress(packed.body))
        assert found["total"] == 12
        thumbnail = asked(port, f"/photos/api/photos/{found['hits'][0]['id']}/thumbnail")
        assert thumbnail.body[8:12] == b"WEBP"
        tag = thumbnail.headers["ETag"]
        again = f"/photos/api/photos/{found['hits'][0]['id']}/thumbnail"
        assert asked(port, again, If_None_Match=tag).status == 304
        script = asked(port, "/photos/static/main.js", Accept_Encoding="gzip")
        assert b"import" in gzip.decompress(script.body)
        opened = asked(port, f"/photos/?token={TOKEN}")
        assert (opened.status, opened.headers["Location"]) == (303, "/photos/")
        cookie = opened.headers["Set-Cookie"]
        assert "Secure" in cookie  # as the proxy said it was asked by
        body = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        body += (photos / "03.jpg").read_bytes() + b"\r\n--edge--\r\n"
        sent = {"Content_Type": "multipart/form-data; boundary=edge"}
        answer = asked(port, "/photos/api/search", body, Origin="https://photos.example", **sent)
        assert json.loads(answer.body)["hits"][0]["path"].endswith("03.jpg")
        other = asked(port, "/photos/api/search", body, Origin="https://evil.example", **sent)
        assert other.status == 403
        assert asked(port, "/photos/api/status", Host="evil.example").status == 400
