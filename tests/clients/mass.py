"""What many clients that mean no good, or that only wait, cost: memory and time, and that others are answered meanwhile.

idle: connections between two requests; waiting: streams that wait for their turn, and leave all at once; slow: heads
and bodies that come byte by byte (Slowloris); heads: that never end; bodies: that never end, or say that they are huge;
half_closed: clients that send no more, read on, or leave.

MASS sets how many connections idle and waiting have (default 1000; in full 10000, which needs `ulimit -Hn` of as many
and some), LISAO_MODEL the model."""
import asyncio
import json
import os
import resource
import statistics
import threading
import time

from common import KEY, NANO, Server, run, say

MASS = int(os.environ.get("MASS", "1000"))
SOME = min(MASS, 500)
HEAD = "Host: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + KEY + "\r\n"
OPTIONS = ["--context", "1024", "--threads", "1", "--parallel", "4", "--log", "none"]


def post(body, more=""):
    text = json.dumps(body)
    return f"POST /v1/completions HTTP/1.1\r\n{HEAD}{more}Content-Length: {len(text)}\r\n\r\n{text}".encode()


class Others:
    """A client that asks as others do, all the time: how long it waits, and the most memory that the server held."""

    def __init__(self, server):
        self.server, self.stop, self.failed = server, threading.Event(), []
        self.health, self.answers, self.before = [], [], server.memory()
        self.most = self.before

    def ask(self, path, body, times):
        began = time.monotonic()
        status, text = self.server.ask(path, body)
        times.append(time.monotonic() - began)
        if status != 200:
            self.failed.append((path, status, text))

    def work(self):
        try:
            while not self.stop.wait(0.05):
                self.ask("/health", None, self.health)
                if len(self.health) % 10 == 1:
                    self.ask("/v1/completions", {"prompt": "The sea", "max_tokens": 8, "user": "other"}, self.answers)
                self.most = max(self.most, self.server.memory())
        except Exception as e:
            self.failed.append(repr(e))

    def __enter__(self):
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def told(self, what, count):
        assert not self.failed, self.failed[:3]
        ms = lambda times: f"median {1e3 * statistics.median(times):.0f}, longest {1e3 * max(times):.0f} ms"
        grown = self.most - self.before
        say(f"{what}: memory {self.before / 1e6:.1f} MB before, {self.most / 1e6:.1f} at most ({grown / count / 1e3:.1f} KB each), "
            f"{self.server.memory() / 1e6:.1f} after; beside it /health {ms(self.health)}, an answer of 8 tokens {ms(self.answers)}")
        return grown / count


async def open_all(server, count, send):
    """So many connections, each of which sends something; a hundred at a time, since the backlog is short."""
    found = []
    for _ in range(0, count, 100):
        some = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", server.port) for _ in range(min(100, count - len(found)))))
        for _, writer in some:
            writer.write(send)
        found += some
    return found


async def close_all(connections):
    for _, writer in connections:
        writer.transport.abort()
    await asyncio.sleep(0)


async def until_closed(connection, seconds):
    """What still comes until the server closes the connection, and how long that takes; None: it does not."""
    reader, _ = connection
    began, got = time.monotonic(), b""
    try:
        while True:
            some = await asyncio.wait_for(reader.read(65536), seconds - (time.monotonic() - began))
            if not some:
                return got, time.monotonic() - began
            got += some
    except asyncio.TimeoutError:
        return got, None
    except ConnectionError:
        return got, time.monotonic() - began


async def ends(connections, seconds):
    found = await asyncio.gather(*(until_closed(c, seconds) for c in connections))
    times = [t for _, t in found]
    assert None not in times, f"{times.count(None)} of {len(times)} connections are open after {seconds} s"
    return [got for got, _ in found], max(times)


async def counters(server, true, seconds):
    """Waits until the server's counters are so; how long that takes."""
    began = time.monotonic()
    while not true(await asyncio.to_thread(server.metrics)):
        assert time.monotonic() - began < seconds, server.metrics()
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def served(case, *options):
    with Server(*OPTIONS, *options, model=NANO) as server:
        with Others(server) as others:
            time.sleep(1)
            others.before = server.memory()
            asyncio.run(case(server, others))
    assert server.code == 0, f"the server ended with {server.code}"


def idle():
    async def case(server, others):
        connections = await open_all(server, MASS, f"GET /health HTTP/1.1\r\n{HEAD}\r\n".encode())
        for reader, _ in connections:
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert server.metrics()["connections"] >= MASS
        await asyncio.sleep(5)
        _, last = await ends(connections, 80)
        each = others.told(f"{MASS} idle connections, the last closed by the server {last:.0f} s after", MASS)
        assert each < 60e3, "an idle connection holds more than the 44 KB of libmicrohttpd and some"
    served(case, "--connections", str(MASS + 100))


def waiting():
    long = {"prompt": "The river", "max_tokens": 1000, "ignore_eos": True, "stream": True, "user": "mass"}

    async def case(server, others):
        connections = await open_all(server, MASS, post(long))
        for reader, _ in connections:
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        await asyncio.wait_for(connections[-1][0].readuntil(b"\n\n"), 60)  # it is told that it is alive
        await asyncio.sleep(10)
        m = await asyncio.to_thread(server.metrics)
        assert m["requests_running"] > MASS * 0.9, m
        await close_all(connections)
        gone = await counters(server, lambda m: m["requests_running"] + m["requests_waiting"] <= 1, 60)
        each = others.told(f"{MASS} streams that wait, all cancelled {gone:.1f} s after their clients left", MASS)
        assert each < 64e3, "a stream that waits holds more than 64 KB"
    served(case, "--connections", str(MASS + 100), "--queue", str(MASS + 100))


def slow():
    async def drip(connection, text, closed):
        try:
            for byte in text:
                if closed.is_set():
                    return
                connection[1].write(bytes([byte]))
                await asyncio.sleep(1)
        except ConnectionError:
            pass

    async def attack(server, begin, rest, seconds):
        connections, closed = await open_all(server, SOME, begin), asyncio.Event()
        drips = [asyncio.create_task(drip(c, rest, closed)) for c in connections]
        found = await ends(connections, seconds)
        closed.set()
        await asyncio.gather(*drips)
        return found

    async def case(server, others):
        heads = attack(server, b"GET /health HTTP/1.1\r\n", b"x: " + b"a" * 100, 15)
        bodies = attack(server, f"POST /v1/completions HTTP/1.1\r\n{HEAD}Content-Length: 10000\r\n\r\n".encode(), b" " * 100, 70)
        (_, head), (_, body) = await asyncio.gather(heads, bodies)
        others.told(f"{SOME} heads and {SOME} bodies, a byte a second: the last closed after {head:.1f} s and {body:.1f} s", 2 * SOME)
    served(case)


async def flood(server, begin, more, most):
    """Sends `begin` and `more` again and again; how many bytes were taken, and what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(begin)
    sent = 0
    try:
        while sent < most:
            writer.write(more)
            await asyncio.wait_for(writer.drain(), 20)
            sent += len(more)
    except ConnectionError:
        pass
    got, took = await until_closed((reader, writer), 20)
    writer.transport.abort()
    assert sent < most and took is not None, f"{sent} bytes were taken, and the connection is open"
    return sent, got.split(b"\r\n")[0].decode()


def flooded(what, floods):
    async def case(server, others):
        statuses, most = {}, 0
        for begin, more in floods:
            for _ in range(0, SOME, 50):
                for sent, status in await asyncio.gather(*(flood(server, begin, more, 256 << 20) for _ in range(50))):
                    statuses[status or "reset"] = statuses.get(status or "reset", 0) + 1
                    most = max(most, sent)
        others.told(f"{what}, {len(floods) * SOME} connections: {statuses}, {most / 1e6:.1f} MB sent at most before the end", 50)
    served(case)


def heads():
    start = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    flooded("heads without end", [(start + b"x: ", b"a" * 65536), (start, b"x: y\r\n" * 10000)])


def bodies():
    start = f"POST /v1/completions HTTP/1.1\r\n{HEAD}".encode()
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    flooded("bodies without end", [(start + b"Transfer-Encoding: chunked\r\n\r\n", chunk),
                                   (start + b"Content-Length: 1000000000000\r\n\r\n", b" " * 65536)])


def half_closed():
    short = {"prompt": "The sea", "max_tokens": 8, "ignore_eos": True, "user": "mass"}

    async def sent(server, text):
        found = await open_all(server, SOME // 5, text)
        for _, writer in found:
            writer.write_eof()
        return found

    async def case(server, others):
        began = time.monotonic()
        answers, _ = await ends(await sent(server, post(short)), 120)
        streams, _ = await ends(await sent(server, post({**short, "stream": True}, "Connection: close\r\n")), 120)
        # libmicrohttpd takes an end that it reads when it goes on with a connection for the client's leaving: such a client gets nothing.
        whole = sum(b" 200 OK" in a and b'"usage"' in a for a in answers) + sum(b"[DONE]" in a for a in streams)
        assert all(b'"usage"' in a or not a for a in answers) and all(b"[DONE]" in a or not a for a in streams), "half of an answer"
        answered = time.monotonic() - began
        _, halves = await ends(await sent(server, post(short)[:-5]), 80)
        await close_all(await sent(server, post({**short, "max_tokens": 1000})))
        gone = await counters(server, lambda m: m["requests_running"] + m["requests_waiting"] <= 1, 60)
        others.told(f"{SOME // 5} each that send no more: {whole} of {2 * (SOME // 5)} answers and streams came, whole, {answered:.1f} s in all; halves of requests were "
                    f"closed after {halves:.1f} s; those who left were noticed after {gone:.1f} s", SOME)
    served(case)


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    run([idle, waiting, slow, heads, bodies, half_closed])
