"""Peers of one who publishes: nginx with its RTMP module, and one that does what a test says."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lipstream_server.rtmp import RtmpProtocol, amf, read_amf

MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
KEY = "right"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """Takes the stream of one key, and records it."""

    def __init__(self, folder):
        if shutil.which("nginx") is None or not MODULE.exists():
            pytest.skip("no nginx with RTMP: apt-get install nginx libnginx-mod-rtmp")
        self.folder, self.records = folder, folder / "records"
        self.records.mkdir(parents=True)
        self.records.chmod(0o777)
        port, control = free_port(), free_port()
        self.url = f"rtmp://127.0.0.1:{port}/live"
        self.port, self._process = port, None
        (folder / "nginx.conf").write_text(f"""
load_module {MODULE};
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log info;
events {{}}
rtmp {{
    notify_method get;
    server {{
        listen 127.0.0.1:{port};
        application live {{
            live on; record all; record_path {self.records}; record_unique on;
            on_publish http://127.0.0.1:{control}/allow;
        }}
    }}
}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{control};
        location /allow {{ if ($arg_name != {KEY}) {{ return 403; }} return 200; }}
    }}
}}
""")

    def __enter__(self):
        command = ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise AssertionError((self.folder / "error.log").read_text())

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def recordings(self):
        return sorted(self.records.glob("*.flv"))


def make_certificate(folder, *names):
    """Return the files of a certificate for hosts, which is its own authority, and of its key."""
    certificate, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
    hosts = ",".join(names)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=test", "-addext", f"subjectAltName={hosts}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


class TlsProxy:
    """Stands before a server on this machine and speaks TLS for it, as stunnel does."""

    def __init__(self, certificate, key, port):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port, self._behind = self._listener.getsockname()[1], port

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[plain], daemon=True).start()

    def _serve(self, plain):
        try:
            client = self._context.wrap_socket(plain, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._behind))
        except OSError:  # the client trusts us not
            plain.close()
            return
        answers = threading.Thread(target=pump, args=[server, client], daemon=True)
        answers.start()
        pump(client, server)
        server.close()
        client.close()


def pump(source, sink):
    """Pass on what comes until one of two sockets ends."""
    try:
        while sent := source.recv(65_536):
            sink.sendall(sent)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


class Peer(threading.Thread):
    """An RTMP server that takes one publisher, and answers as it is told to."""

    def __init__(self, *, verdict="NetStream.Publish.Start", reads=True):
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._verdict, self._reads = verdict, reads
        self.port = self._listener.getsockname()[1]
        self.url = f"rtmp://127.0.0.1:{self.port}/live/key"
        self.messages = []
        self.leave, self.served = threading.Event(), threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.leave.set()
        self._listener.close()
        self.join()

    def run(self):
        connection, _ = self._listener.accept()
        self._listener.close()
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self._serve(connection)
            self.served.set()
            self.leave.wait()

    def _serve(self, connection):
        if not (asked := exactly(connection, 1537)):
            return
        connection.sendall(b"\x03" + bytes(1536) + asked[1:])
        exactly(connection, 1536)
        protocol = RtmpProtocol()
        connection.settimeout(0.1)
        while not self.leave.is_set():
            try:
                sent = connection.recv(65_536)
            except TimeoutError:
                continue
            for kind, body in protocol.receive(sent):
                self.messages.append((kind, body))
                words = read_amf(body) if kind == 20 else [None]
                self._answer(connection, words)
                if words[0] == "publish" and not self._reads:
                    return
            if not sent:
                return

    def _answer(self, connection, words):
        if words[0] == "connect":
            connection.sendall(RtmpProtocol.message(4, b"\x00\x06\x00\x00\x00\x07"))  # a ping
            answer = amf("_result", 1, {"fmsVer": "test"}, {"level": "status"})
        elif words[0] == "createStream":
            answer = amf("_result", words[1], None, 1)
        elif words[0] == "publish":
            level = "status" if self._verdict.endswith("Start") else "error"
            told = {"level": level, "code": self._verdict}
            answer = amf("onStatus", 0, None, told)
        else:
            return
        connection.sendall(RtmpProtocol.message(20, answer))


def exactly(connection, count):
    have = b""
    while len(have) < count:
        sent = connection.recv(count - len(have))
        if not sent:
            return b""
        have += sent
    return have
