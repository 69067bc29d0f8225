"""An HTTP/3 origin, and its client.

    http3.py serve ADDRESS CERTIFICATE KEY      at port 443
    http3.py ask HOST AUTHORITY SIZE            gets so many bytes, and puts as many
"""

import asyncio
import hashlib
import random
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated


def content(size):
    return random.Random(size).randbytes(size)


class Http3(QuicConnectionProtocol):
    """One connection; each message is given to `heard` when it is whole."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.http = None
        self.under_way = {}

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if self.http is None:
            return
        for part in self.http.handle_event(event):
            if not isinstance(part, (HeadersReceived, DataReceived)):
                continue
            head, body = self.under_way.setdefault(part.stream_id, ({}, bytearray()))
            if isinstance(part, HeadersReceived):
                head.update(part.headers)
            else:
                body.extend(part.data)
            if part.stream_ended:
                del self.under_way[part.stream_id]
                self.heard(part.stream_id, head, bytes(body))

    def say(self, stream, head, body):
        self.http.send_headers(stream, head)
        self.http.send_data(stream, body, end_stream=True)
        self.transmit()


class Origin(Http3):
    def heard(self, stream, head, body):
        path = head[b":path"].decode()
        print(self._quic._network_paths[0].addr[0], head[b":method"].decode(), path, flush=True)
        if head[b":method"] == b"GET":
            body = content(int(path.removeprefix("/")))
        else:
            body = hashlib.sha256(body).hexdigest().encode()
        self.say(stream, [(b":status", b"200")], body)


class Client(Http3):
    def heard(self, stream, head, body):
        self.answers[stream].set_result((head[b":status"], body))

    async def ask(self, method, host, path, body=b""):
        stream = self._quic.get_next_available_stream_id()
        self.answers = {stream: asyncio.get_running_loop().create_future()}
        head = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        self.say(stream, [(name.encode(), value.encode()) for name, value in head], body)
        status, answer = await self.answers[stream]
        assert status == b"200", status
        return answer


async def main():
    match sys.argv[1:]:
        case ["serve", address, certificate, key]:
            configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
            configuration.load_cert_chain(certificate, key)
            await serve(address, 443, configuration=configuration, create_protocol=Origin)
            print("serving", flush=True)
            await asyncio.Future()
        case ["ask", host, authority, size]:
            configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN)
            configuration.load_verify_locations(authority)
            body = content(int(size))
            async with connect(host, 443, configuration=configuration, create_protocol=Client) as client:
                assert await client.ask("GET", host, f"/{size}") == body, "the bytes differ"
                digest = await client.ask("PUT", host, f"/{size}", body)
                assert digest.decode() == hashlib.sha256(body).hexdigest(), "the bytes differ"


asyncio.run(main())
