"""An origin that says back what it is told, and its client, over WebSocket or gRPC.

    echo.py websocket|grpc serve ADDRESS CERTIFICATE KEY      WebSocket at ports 80 and 443, gRPC at port 443
    echo.py websocket ask URL PROXY|- AUTHORITY
    echo.py aiohttp ask URL PROXY|- AUTHORITY                 the WebSocket client of aiohttp
    echo.py grpc ask HOST:PORT - AUTHORITY                    the proxy is in the environment
"""

import asyncio
import random
import ssl
import sys
import threading

# Of every length of frame, and longer than what lies in a buffer.
MESSAGES = [random.Random(size).randbytes(size) for size in (1, 125, 126, 65_535, 65_536, 700_000)]


async def serve_websocket(address, certificate, key):
    from websockets.asyncio.server import serve

    async def echo(connection):
        print(connection.remote_address[0], connection.request.path, flush=True)
        async for message in connection:
            await connection.send(message)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with (
        serve(echo, address, 80, max_size=None),
        serve(echo, address, 443, max_size=None, ssl=context),
    ):
        print("serving", flush=True)
        await asyncio.Future()


async def ask_websocket(url, proxy, authority):
    from websockets.asyncio.client import connect

    context = ssl.create_default_context(cafile=authority) if url.startswith("wss:") else None
    proxy = None if proxy == "-" else proxy
    async with connect(url, proxy=proxy, ssl=context, max_size=None) as connection:
        for message in MESSAGES:
            await connection.send(message)
            assert await connection.recv() == message
        # All at once, so that both directions are full at the same time.
        sending = asyncio.gather(*(connection.send(message) for message in MESSAGES))
        for message in MESSAGES:
            assert await connection.recv() == message
        await sending


async def ask_aiohttp(url, proxy, authority):
    import aiohttp

    context = ssl.create_default_context(cafile=authority)
    arguments = {} if proxy == "-" else {"proxy": proxy}
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, ssl=context, max_msg_size=0, **arguments) as connection:
            for message in MESSAGES:
                await connection.send_bytes(message)
                assert await connection.receive_bytes() == message


def serve_grpc(address, certificate, key):
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    def say(what, context):
        # ipv6:%5Baddress%5D:port
        peer = context.peer().removeprefix("ipv6:").replace("%5B", "").replace("%5D", "").replace("[", "").replace("]", "")
        print(peer.rsplit(":", 1)[0], what, flush=True)

    def one(message, context):
        say("one", context)
        context.set_trailing_metadata((("told", str(len(message))),))
        return message

    def many(messages, context):
        say("many", context)
        yield from messages

    methods = {
        "One": grpc.unary_unary_rpc_method_handler(one),
        "Many": grpc.stream_stream_rpc_method_handler(many),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", methods),))
    read = lambda path: open(path, "rb").read()
    credentials = grpc.ssl_server_credentials([(read(key), read(certificate))])
    server.add_secure_port(f"[{address}]:443", credentials)
    server.start()
    print("serving", flush=True)
    threading.Event().wait()


def ask_grpc(target, authority):
    import grpc

    credentials = grpc.ssl_channel_credentials(open(authority, "rb").read())
    with grpc.secure_channel(target, credentials) as channel:
        one = channel.unary_unary("/Echo/One")
        for message in MESSAGES:
            answer, call = one.with_call(message, timeout=60)
            assert answer == message
            assert ("told", str(len(message))) in [tuple(pair) for pair in call.trailing_metadata()]
        many = channel.stream_stream("/Echo/Many")
        assert list(many(iter(MESSAGES), timeout=60)) == MESSAGES


match sys.argv[1:]:
    case ["websocket", "serve", *places]:
        asyncio.run(serve_websocket(*places))
    case ["websocket", "ask", *words]:
        asyncio.run(ask_websocket(*words))
    case ["aiohttp", "ask", *words]:
        asyncio.run(ask_aiohttp(*words))
    case ["grpc", "serve", *places]:
        serve_grpc(*places)
    case ["grpc", "ask", target, _, authority]:
        ask_grpc(target, authority)
