"""An HTTP origin on one IPv6 address, with long streams and git.

    origin.py serve ADDRESS REPOSITORIES CERTIFICATE KEY   ports 80 and 443; says a line for each request
    origin.py stream MEBIBYTES                             the stream itself, to stdout
    origin.py sum MEBIBYTES                                its SHA-256

GET /stream/MEBIBYTES answers with that much of the stream, PUT /sum with the SHA-256 of the body, /git/... is
git http-backend.
"""

import hashlib
import http.server
import os
import random
import socket
import ssl
import subprocess
import sys
import threading

BASE = random.Random(4).randbytes(1 << 20)


def stream(mebibytes):
    """Blocks of 1 MiB that differ, so that a lost, repeated or misplaced one changes the sum."""
    rest = memoryview(BASE)[8:]
    for number in range(mebibytes):
        yield number.to_bytes(8, "big")
        yield rest


def digest(pieces):
    sum = hashlib.sha256()
    for piece in pieces:
        sum.update(piece)
    return sum.hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *values):
        pass

    def say(self, what=""):
        print(self.client_address[0], self.command, self.path, what, flush=True)

    def body(self):
        left = int(self.headers.get("content-length", 0))
        chunked = self.headers.get("transfer-encoding") == "chunked"
        while True:
            if chunked:
                left = int(self.rfile.readline(), 16)
            end = left == 0
            while left > 0:
                piece = self.rfile.read1(min(left, 1 << 20))
                if not piece:
                    raise ConnectionError("the body ends early")
                left -= len(piece)
                yield piece
            if chunked:
                self.rfile.readline()
            if end or not chunked:
                return

    def answer(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/git/"):
            return self.git()
        if self.path.startswith("/stream/"):
            mebibytes = int(self.path.partition("?")[0].rsplit("/", 1)[1])
            self.send_response(200)
            self.send_header("content-length", str(mebibytes << 20))
            self.end_headers()
            for piece in stream(mebibytes):
                self.wfile.write(piece)
            return self.say()
        self.say()
        self.answer(self.client_address[0].encode())

    def do_PUT(self):
        sum = digest(self.body())
        self.say(sum)
        self.answer(sum.encode())

    def do_POST(self):
        self.git()

    def git(self):
        path, _, query = self.path.removeprefix("/git").partition("?")
        headers = self.headers
        environment = dict(
            os.environ,
            GIT_HTTP_EXPORT_ALL="1",
            GIT_PROJECT_ROOT=self.server.repositories,
            PATH_INFO=path,
            QUERY_STRING=query,
            REMOTE_ADDR=self.client_address[0],
            REMOTE_USER="somebody",
            REQUEST_METHOD=self.command,
            CONTENT_TYPE=headers.get("content-type", ""),
            HTTP_CONTENT_ENCODING=headers.get("content-encoding", ""),
            GIT_PROTOCOL=headers.get("git-protocol", ""),
        )
        if "content-length" in headers:
            environment["CONTENT_LENGTH"] = headers["content-length"]
        backend = subprocess.Popen(
            ["git", "http-backend"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for piece in self.body():
            backend.stdin.write(piece)
        backend.stdin.close()
        status, fields = 200, []
        while line := backend.stdout.readline().strip().decode():
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            else:
                fields.append((name, value))
        self.say("chunked" if "transfer-encoding" in headers else "")
        self.send_response(status)
        for field in fields:
            self.send_header(*field)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while piece := backend.stdout.read1(1 << 16):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
        backend.wait()


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def serve(address, repositories, certificate, key):
    for port in (80, 443):
        server = Server((address, port), Handler)
        server.repositories = repositories
        if port == 443:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever).start()
    print("serving", flush=True)


match sys.argv[1:]:
    case ["serve", *places]:
        serve(*places)
    case ["stream", mebibytes]:
        for piece in stream(int(mebibytes)):
            sys.stdout.buffer.write(piece)
    case ["sum", mebibytes]:
        print(digest(stream(int(mebibytes))))
