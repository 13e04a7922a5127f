"""A proxy that cuts a prefix off every path, as one does in front of a WebUI with ``--subpath``."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

HEAD_LIMIT = 65536  # bytes


class Server(ThreadingTCPServer):
    daemon_threads = True
    target = 0
    prefix = ""


class Handler(BaseRequestHandler):
    """One request for each connection; afterwards bytes go both ways, websockets included."""

    server: Server

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT:
            if not (part := self.request.recv(HEAD_LIMIT)):
                return
            head += part
        verb, path, rest = head.split(b" ", 2)
        path = b"/" + path.lstrip(b"/")  # as nginx does; gradio's login asks for //sdui/login
        prefix = self.server.prefix.encode()
        if not path.startswith(prefix):
            self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if b"upgrade: websocket" not in head.lower():
            rest = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"\r\nConnection: close", rest, count=1)
        with socket.create_connection(("127.0.0.1", self.server.target)) as other:
            other.sendall(verb + b" " + (path[len(prefix) :] or b"/") + b" " + rest)
            back = threading.Thread(target=pump, args=(other, self.request), daemon=True)
            back.start()
            pump(self.request, other)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(HEAD_LIMIT):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def cutting(prefix: str, target: int) -> Iterator[str]:
    """The address of a proxy for ``prefix`` in front of a port of this machine."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.prefix, server.target = prefix, target
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
        server.shutdown()
