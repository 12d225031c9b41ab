"""A way to the server that can go wrong below HTTP: slowly, silently, behind a bad certificate, or not at all."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit


class Relay:
    """Passes connections on to a server, in a way that `how` says.

    `pass`; `mute` (takes connections and what is sent, and never says a word); `drip` (an answer without an end, a byte
    at a time); `hang up` (reads a request, then closes); or a whole answer, as bytes.
    """

    def __init__(self, server: str, how: str | bytes = "pass", tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(server)
        assert parts.hostname is not None
        assert parts.port is not None
        self.to, self.how, self.tls = (parts.hostname, parts.port), how, tls
        self.connections = 0
        self.heard = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.live: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def close_connections(self) -> None:
        """As a server does with connections that were idle for long."""
        for one in self.live:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self.live.clear()

    def close(self) -> None:
        self.listener.close()
        self.close_connections()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):  # among them what TLS says to a client that does not trust us
            if self.tls:
                one = self.tls.wrap_socket(one, server_side=True)
            self.live.append(one)
            if self.how == "pass":
                with socket.create_connection(self.to) as other:
                    self.live.append(other)
                    threading.Thread(target=_copy, args=(other, one), daemon=True).start()
                    _copy(one, other)
                return
            self.heard += one.recv(1 << 20)
            if self.how == "mute":
                while one.recv(1 << 16):
                    pass
            elif self.how == "drip":
                one.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx: ")
                while True:
                    one.sendall(b"x")
                    time.sleep(0.05)
            elif isinstance(self.how, bytes):
                one.sendall(self.how)
            one.close()


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)


class Authority:
    """A certificate authority of the tests' own, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root.pem"
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-out", "root.pem",
                  "-subj", "/CN=llmtrail tests", "-days", "30")  # fmt: skip

    def context(self, name: str, days: int = 30, before: int = 0) -> ssl.SSLContext:
        """A server's TLS for a name, whose certificate began so many days ago and is good for so many days."""
        file = f"{name}-{days}-{before}"
        (self.folder / "names").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n")
        self._run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{file}.key", "-out", f"{file}.csr",
                  "-subj", f"/CN={name}")  # fmt: skip
        since, until = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + day * 86400))
                        for day in (-before - 1, days - before))  # fmt: skip
        database = self.folder / "index.txt"
        database.write_text("")
        (self.folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n"
            "policy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        self._run("ca", "-batch", "-config", "ca.cnf", "-cert", "root.pem", "-keyfile", "root.key", "-in",
                  f"{file}.csr", "-out", f"{file}.pem", "-startdate", since, "-enddate", until, "-extfile", "names",
                  "-notext")  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        return context

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
