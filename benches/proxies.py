#!/usr/bin/env python3
"""sekisho beside the proxies that a user would otherwise pick, on one machine and in one run: as root,

    cargo build --release && benches/proxies.py [--rounds 3] [--seconds 2] [--idle 2000] [--modes sni,connect] [PEER...]

Everything lives in a network, mount and process namespace that ends with it. Peers that are not installed are left out;
Debian: apt install haproxy squid nginx libnginx-mod-stream sniproxy dante-server tinyproxy. The proxy has core 0; origin,
DNS and client have core 1. Told are medians over the rounds, in which the peers take turns. CPU is that of the proxy's
whole process tree. `splice` is a bare relay of splice(2) without DNS and rules: the floor for bulk. It is written in Python,
so that its cost for a new tunnel says nothing. docs/performance.md tells how to read the figures.
"""
import argparse, fcntl, os, select, selectors, shutil, signal, socket, statistics, struct, subprocess, sys, tempfile, threading, time

GATE, ORIGIN, DNS, NAME = "10.77.0.1", "10.77.0.2", "10.77.0.3", "origin.bench.example"
PORTS = {"connect": 3128, "forward": 3128, "socks5": 1080, "sni": 443}
BULK = 1 << 30
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

def target(mode):
    return 443 if mode == "sni" else 8000

# ---- peers: the modes, the configuration ({p} is the port), the command ({c} is its file, {d} its folder)
def haproxy(mode):
    if mode == "sni":
        rules = "tcp-request inspect-delay 5s\n tcp-request content do-resolve(sess.dst,d,ipv4) req.ssl_sni\n tcp-request content set-dst var(sess.dst)\n tcp-request content accept if { req.ssl_hello_type 1 }\n default_backend b\nbackend b\n server any 0.0.0.0:443"
    else:
        rules = "http-request do-resolve(txn.dst,d,ipv4) hdr(host),host_only\n http-request set-uri %[path]\n default_backend b\nbackend b\n http-request set-dst var(txn.dst)\n http-request set-dst-port int(8000)\n server any 0.0.0.0:0"
    return f"""global
 maxconn 7000
 nbthread 1
resolvers d
 nameserver d {DNS}:53
 hold valid 60s
defaults
 mode {'tcp' if mode == 'sni' else 'http'}
 option splice-response
 timeout connect 10s
 timeout client 600s
 timeout server 600s
frontend f
 bind {GATE}:{PORTS[mode]}
 {rules}
"""

def nginx(mode):
    common = "daemon off; worker_processes 1; user root; pid {d}/pid; error_log /dev/null; worker_rlimit_nofile 18000;\nevents { worker_connections 16000; }\n"
    if mode == "sni":
        return "load_module modules/ngx_stream_module.so;\n" + common + f"stream {{ resolver {DNS} ipv6=off; server {{ listen {GATE}:443; ssl_preread on; proxy_pass $ssl_preread_server_name:443; }} }}\n"
    return common + f"http {{ access_log off; resolver {DNS} ipv6=off; server {{ listen {GATE}:3128; keepalive_requests 1000000; location / {{ proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering on; proxy_max_temp_file_size 0; proxy_pass http://$http_host$request_uri; }} }} }}\n"

def sekisho(mode):
    return f"""[lan]
address = "{GATE}"
networks = ["10.77.0.0/24"]
[dns]
listen = []
[dns.upstream]
servers = ["udp://{DNS}:53"]
[proxy]
http = ["{GATE}:3128"]
tls = ["{GATE}:443"]
plain = ["{GATE}:80"]
""" + (f'socks = ["{GATE}:1080"]\n' if mode == "socks5" else "") + """max-sessions = 9000
max-sessions-per-client = 9000
[steer]
mode = "address"
[egress]
allow = ["10.77.0.0/24"]
[web]
listen = []
admin = []
[log]
level = "warn"
"""

PEERS = {
    "sekisho": ("connect forward socks5 sni", sekisho, ["{bin}", "run", "--config", "{c}"]),
    "splice": ("connect sni", lambda mode: mode, [sys.executable, os.path.abspath(__file__), "--splice", "{c}"]),
    "haproxy": ("forward sni", haproxy, ["haproxy", "-db", "-f", "{c}"]),
    "nginx": ("forward sni", nginx, ["nginx", "-c", "{c}"]),
    "squid": ("connect forward", lambda _: f"http_port {GATE}:3128\nhttp_access allow all\ncache deny all\naccess_log none\ncache_log /dev/null\npid_filename none\ndns_nameservers {DNS}\nshutdown_lifetime 0\nmax_filedescriptors 18000\n", ["squid", "-N", "-f", "{c}"]),
    "tinyproxy": ("connect forward", lambda _: f"Listen {GATE}\nPort 3128\nMaxClients 9000\nTimeout 600\nLogLevel Critical\n", ["tinyproxy", "-d", "-c", "{c}"]),
    "sniproxy": ("sni", lambda _: f"user root\npidfile {{d}}/pid\nresolver {{\n nameserver {DNS}\n mode ipv4_only\n}}\nlistener {GATE}:443 {{\n proto tls\n table t\n access_log {{\n  filename /dev/null\n }}\n}}\ntable t {{\n .* *:443\n}}\n", ["sniproxy", "-f", "-c", "{c}"]),
    "danted": ("socks5", lambda _: f"internal: {GATE} port = 1080\nexternal: {GATE}\nclientmethod: none\nsocksmethod: none\nuser.privileged: root\nuser.unprivileged: root\nclient pass {{ from: 0/0 to: 0/0 }}\nsocks pass {{ from: 0/0 to: 0/0 }}\n", ["danted", "-f", "{c}"]),
}

# ---- origin and DNS
def hello():
    sni = NAME.encode()
    ext = struct.pack(">HHHBH", 0, len(sni) + 5, len(sni) + 3, 0, len(sni)) + sni + struct.pack(">HH", 21, 300) + bytes(300)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\2\x13\x01" + b"\1\0" + struct.pack(">H", len(ext)) + ext
    shake = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack(">H", len(shake)) + shake

def origin():
    zeros = os.memfd_create("zeros"); os.truncate(zeros, BULK)
    poll = selectors.DefaultSelector()
    def bulk(conn):
        try:
            conn.setblocking(True)
            while os.sendfile(conn.fileno(), zeros, 0, 1 << 20): pass
        except OSError: pass
        conn.close()
    for port in (443, 8000):
        listener = socket.create_server((ORIGIN, port), backlog=4096); listener.setblocking(False)
        poll.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in poll.select():
            if key.data is None:
                conn, _ = key.fileobj.accept(); conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(conn, selectors.EVENT_READ, bytearray()); continue
            conn, seen = key.fileobj, key.data
            try: data = conn.recv(65536)
            except OSError: data = b""
            if not data: poll.unregister(conn); conn.close(); continue
            seen += data
            if seen[:1] == b"\x16" and len(seen) >= 5:
                length = 5 + struct.unpack(">H", seen[3:5])[0]
                if len(seen) < length: continue
                del seen[:length]
            while (end := seen.find(b"\r\n\r\n")) >= 0:
                size = int(bytes(seen[:end]).split(b" ", 2)[1].rsplit(b"/", 1)[1]); del seen[:end + 4]
                try: conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + (bytes(size) if size < BULK else b""))
                except OSError: break
                if size >= BULK:
                    poll.unregister(conn); threading.Thread(target=bulk, args=(conn,), daemon=True).start(); break

def dns():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.bind((DNS, 53))
    soa = b"\xc0\x0c\0\6\0\1\0\0\x0e\x10" + struct.pack(">H", 22) + b"\0\0" + struct.pack(">5I", 1, 3600, 3600, 3600, 3600)
    while True:
        query, peer = sock.recvfrom(4096)
        end = query.index(0, 12) + 5
        is_a = query[end - 4:end - 2] == b"\0\1"
        counts = b"\0\1\0\1\0\0\0\0" if is_a else b"\0\1\0\0\0\1\0\0"
        record = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4" + socket.inet_aton(ORIGIN) if is_a else soa
        sock.sendto(query[:2] + b"\x81\x80" + counts + query[12:end] + record, peer)

# ---- the bare relay
def splice(mode):
    poll, pipes = selectors.DefaultSelector(), []
    listener = socket.create_server((GATE, PORTS[mode]), backlog=4096); listener.setblocking(False)
    poll.register(listener, selectors.EVENT_READ, None)
    def move(a, b):
        if not pipes:
            pipes.append(os.pipe2(os.O_NONBLOCK)); fcntl.fcntl(pipes[0][1], fcntl.F_SETPIPE_SZ, 1 << 20)
        pipe = pipes.pop()
        try:
            while count := os.splice(a.fileno(), pipe[1], 1 << 20, flags=3):
                while count:
                    try: count -= os.splice(pipe[0], b.fileno(), count, flags=3)
                    except BlockingIOError: select.select([], [b], [])
            raise ConnectionResetError
        except BlockingIOError: pipes.append(pipe)
    while True:
        for key, _ in poll.select():
            if key.data is None:
                conn, _ = listener.accept(); conn.settimeout(5)
                up = socket.create_connection((ORIGIN, target(mode)))
                if mode == "connect":
                    conn.recv(4096); conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
                for a, b in ((conn, up), (up, conn)):
                    a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); a.setblocking(False); poll.register(a, selectors.EVENT_READ, b)
                continue
            if key.fileobj.fileno() < 0: continue
            try: move(key.fileobj, key.data)
            except OSError:
                for end in (key.fileobj, key.data): poll.unregister(end); end.close()

# ---- client
class Client:
    def __init__(self, mode):
        self.mode, self.hello = mode, hello()
    def open(self):
        s = socket.create_connection((GATE, PORTS[self.mode]), timeout=10); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.mode == "connect":
            s.sendall(f"CONNECT {NAME}:8000 HTTP/1.1\r\nHost: {NAME}:8000\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += s.recv(4096) or sys.exit("the proxy hung up")
            if b" 200" not in head[:16]: raise OSError(head)
        elif self.mode == "socks5":
            s.sendall(b"\5\1\0"); s.recv(2)
            s.sendall(b"\5\1\0\3" + bytes([len(NAME)]) + NAME.encode() + struct.pack(">H", 8000))
            if s.recv(10)[1:2] != b"\0": raise OSError("SOCKS")
        elif self.mode == "sni":
            s.sendall(self.hello)
        return s
    def ask(self, s, size):
        where = f"http://{NAME}:8000" if self.mode == "forward" else ""
        s.sendall(f"GET {where}/{size} HTTP/1.1\r\nHost: {NAME}:8000\r\n\r\n".encode())
    def get(self, s, size=1024):
        self.ask(s, size); data = b""
        while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + size:
            more = s.recv(65536)
            if not more: raise OSError("cut short")
            data += more

def tree(pid):
    try: children = [int(c) for t in os.listdir(f"/proc/{pid}/task") for c in open(f"/proc/{pid}/task/{t}/children").read().split()]
    except OSError: return []
    return [pid] + [p for c in children for p in tree(c)]

def cpu(pid):
    return sum(sum(map(int, open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[11:15])) for p in tree(pid)) / os.sysconf("SC_CLK_TCK")

def pss(pid):
    return sum(int(line.split()[1]) for p in tree(pid) for line in open(f"/proc/{p}/smaps_rollup") if line.startswith("Pss:"))

def in_threads(count, work):
    results = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for t in threads: t.start()
    for t in threads: t.join()
    if len(results) < count: raise OSError("a client failed")
    return sum(results)

def measure(pid, mode, args):
    client, told = Client(mode), {}
    for s in [client.open() for _ in range(20)]: client.get(s); s.close()
    def bulk():
        s, got = client.open(), 0
        client.ask(s, BULK); end = time.monotonic() + args.seconds
        while time.monotonic() < end: got += len(s.recv(1 << 20, socket.MSG_TRUNC))
        s.close(); return got
    for count in (1, 8):
        before, begun = cpu(pid), time.monotonic()
        got = in_threads(count, bulk)
        told[f"cpu s/GiB x{count}"] = (cpu(pid) - before) / (got / 2**30); told[f"GB/s x{count}"] = got / 1e9 / (time.monotonic() - begun)
    def new():
        count, end = 0, time.monotonic() + args.seconds
        while time.monotonic() < end: s = client.open(); client.get(s); s.close(); count += 1
        return count
    before = cpu(pid); count = in_threads(4, new); told["cpu us/tunnel"] = (cpu(pid) - before) / count * 1e6
    s, took = client.open(), []
    before = cpu(pid)
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        begun = time.perf_counter(); client.get(s); took.append(time.perf_counter() - begun)
        if mode == "forward" and b"tinyproxy" in open(f"/proc/{pid}/comm", "rb").read(): s.close(); s = client.open()
    told["cpu us/request"] = (cpu(pid) - before) / len(took) * 1e6
    took.sort(); told["p50 us"], told["p99 us"] = took[len(took) // 2] * 1e6, took[len(took) * 99 // 100] * 1e6
    s.close()
    if mode != "forward" and args.idle:
        before, idle = pss(pid), []
        for _ in range(args.idle): s = client.open(); client.get(s, 512); idle.append(s)
        time.sleep(0.5); told["KiB/idle tunnel"] = (pss(pid) - before) / args.idle
        for s in idle: s.close()
    return told

def run(name, mode, args):
    _, config, argv = PEERS[name]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755); file = f"{folder}/conf"
        open(file, "w").write(config(mode).replace("{d}", folder))
        fill = {"{c}": mode if name == "splice" else file, "{d}": folder, "{bin}": args.sekisho}
        proxy = subprocess.Popen(["taskset", "-c", "0"] + [fill.get(a, a) for a in argv], stdout=subprocess.DEVNULL, stderr=open(f"{folder}/log", "w"))
        try:
            for _ in range(100):
                try: socket.create_connection((GATE, PORTS[mode]), timeout=1).close(); break
                except OSError: time.sleep(0.1)
            else: raise OSError(open(f"{folder}/log").read()[-300:] or "it does not listen")
            return measure(proxy.pid, mode, args)
        finally:
            for p in tree(proxy.pid): os.kill(p, signal.SIGKILL)
            proxy.wait(); time.sleep(0.3)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3); parser.add_argument("--seconds", type=float, default=2); parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--modes", default="sni,connect,forward,socks5"); parser.add_argument("--sekisho", default=f"{ROOT}/target/release/sekisho")
    parser.add_argument("--splice", help=argparse.SUPPRESS); parser.add_argument("peers", nargs="*")
    args = parser.parse_args()
    if args.splice: return splice(args.splice)
    if "SEKISHO_BENCH" not in os.environ:
        os.environ["SEKISHO_BENCH"] = "inside"
        os.execvp("unshare", ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child", sys.executable] + sys.argv)
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    subprocess.run("ip link set lo up; for n in 1 2 3; do ip addr add 10.77.0.$n/32 dev lo; done; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run", shell=True, check=True)
    open("/run/resolv.conf", "w").write(f"nameserver {DNS}\n"); subprocess.run(["mount", "--bind", "/run/resolv.conf", "/etc/resolv.conf"], check=True)
    os.sched_setaffinity(0, {1})
    for side in (origin, dns):
        if os.fork() == 0: side()
    time.sleep(0.5)
    for mode in args.modes.split(","):
        names = [n for n, (modes, _, argv) in PEERS.items() if mode in modes.split() and (not args.peers or n in args.peers) and (argv[0] == "{bin}" or shutil.which(argv[0]))]
        rows = {n: [] for n in names}
        for _ in range(args.rounds):
            for n in names:
                try: rows[n].append(run(n, mode, args))
                except (OSError, SystemExit) as error: print(f"{mode} {n}: {error}", file=sys.stderr)
        columns = list(dict.fromkeys(c for r in rows.values() for t in r for c in t))
        print(f"\n{mode}, medians of {args.rounds} rounds\n\n| proxy | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
        for n, told in rows.items():
            cells = [[t[c] for t in told if c in t] for c in columns]
            print(f"| {n} | " + " | ".join(f"{statistics.median(v):.{2 if max(v) < 20 else 0}f}" if v else "-" for v in cells) + " |", flush=True)

main()
