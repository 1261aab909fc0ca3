"""What was acknowledged is there after a kill, damage and a full disk.

kills: the service, and the `lisao keys` that writes beside it, are killed (SIGKILL) in the middle of streams and
writes, KILLS times (default 10; in full 200), all on one folder. After each: every key whose making, end or change was
acknowledged is as it was acknowledged, also over HTTP; the usage of what ended a second before the kill is counted, and
nothing more than was sent; the databases are whole; streams were, to where they were cut, those of an undisturbed
service; answers with prompts from the disk are the same.
damage: kept prompts are cut, changed, emptied, exchanged: they are refused, and the answers are the same.
disk_full: nothing more can be written: answers go on and are the same, a key and a conversation that cannot be written
are refused, the log says so; once there is room all goes on. It mounts a tmpfs, which needs root.

Conversations on the server have their own kills (tests/serve history, with LISAO_TEST_FULL=1)."""
import http.client
import json
import os
import random
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from common import LISAO, NANO, Server, events, run, say

KILLS = int(os.environ.get("KILLS", "10"))
SETTLED = 1.0  # seconds until the usage of what ended is on the disk
CONTEXT = ["--context", "1024", "--parallel", "4", "--threads", "1", "--no-first-key"]


def question(i):
    """A prompt of some hundred tokens: with 16 pages for all, pages are written to the disk all the time."""
    words = " ".join(f"{i} + {k} = {i + k}." for k in range(20 + 4 * i))
    return {"prompt": words, "max_tokens": 16, "seed": i, "temperature": 1, "ignore_eos": True, "stream": True}


QUESTIONS = [question(i) for i in range(12)]


def stream(server, body, key):
    """The text of a stream and whether it came to its end."""
    text, c = "", http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        c.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", "x-api-key": key})
        r = c.getresponse()
        if r.status != 200:
            return f"{r.status} {r.read().decode()}", False
        for line in r:
            if line.startswith(b"data: {"):
                text += "".join(x["text"] for x in json.loads(line[6:])["choices"])
            elif line.startswith(b"data: [DONE]"):
                return text, True
    except (OSError, http.client.HTTPException, ValueError):
        pass
    finally:
        c.close()
    return text, False


def undisturbed():
    with Server(*CONTEXT, model=NANO, key="x") as server:
        answers = [stream(server, q, "x") for q in QUESTIONS]
    assert all(whole for _, whole in answers), answers
    return [text for text, _ in answers]


def keys_command(folder, *arguments):
    return subprocess.Popen([LISAO, "keys", *arguments, "--data", folder, "--json"], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def keys(folder, *arguments):
    p = keys_command(folder, *arguments)
    out, err = p.communicate()
    assert p.returncode == 0, err
    return json.loads(out)


class Ledger:
    """What was acknowledged: of each key its text, None where a change of it was cut; and what was counted."""

    def __init__(self, folder):
        self.folder = folder
        made = keys(folder, "create", "clients", "--scopes", "chat,metrics")
        self.client, self.text = made["id"], made["key"]
        self.live, self.revoked, self.unsure = {}, set(), set()
        self.begun = self.counted = self.whole = self.cut = self.changes = 0
        self.ended = []  # when each whole answer of this round ended
        self.lock = threading.Lock()
        self.now = None  # the `lisao keys` that runs

    def change(self, r):
        """Makes a key, or revokes or rotates one; what comes of it counts where it was acknowledged."""
        what = r.choice(["create", "create", "rotate", "revoke"]) if self.live else "create"
        key = None if what == "create" else r.choice(list(self.live))
        if key is not None:
            old = self.live.pop(key)
            self.unsure.add(key)
        self.now = keys_command(self.folder, what, "new" if key is None else str(key))
        out, _ = self.now.communicate()
        if self.now.returncode != 0:
            return False
        self.changes += 1
        if what == "revoke":
            self.revoked.add((key, old))
        else:
            made = json.loads(out)
            self.live[made["id"]] = made["key"]
        self.unsure.discard(key)
        return True

    def check(self, server, r):
        listed = {k["id"]: k for k in keys(self.folder, "list")}
        for key in self.live:
            assert key in listed and not listed[key]["revoked"], f"key {key} was acknowledged and is not there: {listed.get(key)}"
        for key, _ in self.revoked:
            assert listed[key]["revoked"], f"key {key} was revoked and is not"
        for key in r.sample(sorted(self.live), min(3, len(self.live))):
            assert server.ask("/v1/models", key=self.live[key])[0] == 200, f"key {key} is not let in"
        for key, text in r.sample(sorted(self.revoked), min(3, len(self.revoked))):
            assert server.ask("/v1/models", key=text)[0] == 401, f"key {key} is let in, and was revoked"
        used = sum(u["requests"] for u in keys(self.folder, "usage", str(self.client)))
        assert self.counted <= used <= self.begun, f"{used} requests are counted, of {self.counted} settled and {self.begun} begun"
        for name in ("keys/keys.db", "history/history.db"):
            db = sqlite3.connect(os.path.join(self.folder, name))
            found = db.execute("PRAGMA integrity_check").fetchall()
            db.close()
            assert found == [("ok",)], (name, found)
        return used


def ask_on(server, ledger, answers, r, stop, wrong):
    while not stop.is_set():
        i = r.randrange(len(QUESTIONS))
        with ledger.lock:
            ledger.begun += 1
        text, whole = stream(server, QUESTIONS[i], ledger.text)
        if text != answers[i] if whole else not answers[i].startswith(text):
            wrong.append(f"question {i}: {text!r} is not {answers[i]!r}")
        with ledger.lock:
            ledger.whole += whole
            ledger.cut += not whole
            if whole:
                ledger.ended.append(time.monotonic())
            elif not stop.is_set() and server.process.poll() is None:
                wrong.append(f"question {i} was cut, and nobody was killed: {text!r}")


def change_on(ledger, r, stop, wrong):
    while not stop.is_set():
        if not ledger.change(r) and not stop.is_set():
            wrong.append(f"lisao keys failed: {ledger.now.stderr.read()}")


def kill_round(server, ledger, answers, r):
    """Asks and writes for a while, kills, and adds up what must be there."""
    stop, wrong = threading.Event(), []
    team = [threading.Thread(target=ask_on, args=(server, ledger, answers, random.Random(r.random()), stop, wrong)) for _ in range(3)]
    team.append(threading.Thread(target=change_on, args=(ledger, r, stop, wrong)))
    for t in team:
        t.start()
    time.sleep(min(10, 0.1 + r.expovariate(0.4)))
    stop.set()
    server.process.kill()
    killed = time.monotonic()
    if ledger.now:
        ledger.now.kill()
    for t in team:
        t.join()
    server.process.wait()
    ledger.counted += sum(t < killed - SETTLED for t in ledger.ended)
    ledger.ended.clear()
    assert not wrong, wrong[:3]


def said_in(log):
    """What a log says beside its lines of requests: each kind of line, without its numbers, and how often."""
    kinds = {}
    for line in open(log, errors="replace"):
        if line.startswith("lisao: "):
            kind = " ".join(w for w in line.split() if not any(c.isdigit() for c in w))[:110]
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def kills():
    answers, r = undisturbed(), random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        log, ledger = folder + "/log", Ledger(folder + "/data")
        options = ["--data", ledger.folder, "--prompts-on-disk", "20", "--history", *CONTEXT]
        for i in range(KILLS):
            with Server(*options, model=NANO, key=None, log=log) as server:
                if i:
                    ledger.check(server, r)
                kill_round(server, ledger, answers, r)
        with Server(*options, model=NANO, key=None, log=log) as server:
            used = ledger.check(server, r)
            for q, text in zip(QUESTIONS, answers):
                assert stream(server, q, ledger.text) == (text, True), "an answer differs after the kills"
            read = server.metrics(ledger.text)["pages_loaded_total"]
        damaged = sum(n for kind, n in said_in(log).items() if "is damaged or gone" in kind)
        say(f"{KILLS} kills: {ledger.whole} streams whole and {ledger.cut} cut, all of the same text; {ledger.changes} changes of keys "
            f"acknowledged, {len(ledger.live)} live and {len(ledger.revoked)} revoked, none lost; {used} requests counted, "
            f"{ledger.counted} had to be, {ledger.begun} were begun; {damaged} kept prompts were found damaged, {read} pages read in the end")
        for kind, n in said_in(log).items():
            say(f"the log, {n} times: {kind}")


def damage():
    answers = undisturbed()
    with tempfile.TemporaryDirectory() as folder:
        log, options = folder + "/log", ["--data", folder, "--prompts-on-disk", "20", *CONTEXT]
        with Server(*options, model=NANO, log=log) as server:
            for q in QUESTIONS:
                stream(server, q, server.key)
        pages = sorted(Path(folder, "prompts").glob("*.page"))
        assert len(pages) > 12, pages
        for i, page in enumerate(pages):
            data = bytearray(page.read_bytes())
            data[random.Random(i).randrange(len(data))] ^= 1
            if i % 2:
                page.write_bytes([data, data[: len(data) // 2], b"", pages[i - 1].read_bytes(), bytes(len(data))][i // 2 % 5])
        with Server(*options, model=NANO, log=log) as server:
            for q, text in zip(QUESTIONS, answers):
                assert stream(server, q, server.key) == (text, True), "an answer differs"
            read = server.metrics()["pages_loaded_total"]
        refused = sum(n for kind, n in said_in(log).items() if "is damaged or gone" in kind)
        assert refused > 0 and read > 0, (refused, read)
        say(f"{len(pages)} pages, every second one damaged: {refused} refused, {read} read, {len(QUESTIONS)} answers the same")
        for kind, n in said_in(log).items():
            say(f"the log, {n} times: {kind}")


def fill(folder):
    """Takes all room that is left; the file that has it."""
    with open(folder + "/ballast", "wb", buffering=0) as f:
        for size in (65536, 4096, 1):
            try:
                while True:
                    f.write(bytes(size))
            except OSError:
                pass
    return folder + "/ballast"


def full_case(folder, answers):
    log, data = folder + "-log", folder + "/data"
    text = keys(data, "create", "before", "--scopes", "chat,metrics")["key"]
    talk = {"conversations": [{"id": "c1", "title": "x"}]}
    options = ["--data", data, "--prompts-on-disk", "100", "--history", *CONTEXT]
    with Server(*options, model=NANO, key=None, log=log) as server:
        assert server.ask("/v1/history", talk, key=text)[0] == 200
        assert stream(server, QUESTIONS[0], text)[1]
        time.sleep(SETTLED)
        ballast = fill(folder)
        for q, expected in zip(QUESTIONS, answers):
            assert stream(server, q, text) == (expected, True), "an answer on a full disk differs"
        p = keys_command(data, "create", "never")
        out, err = p.communicate()
        assert p.returncode != 0 and not out and "full" in err, (p.returncode, out, err)
        say(f"lisao keys create on a full disk: {err.strip()}")
        refused = {"conversations": [{"id": f"c{i}", "title": "x" * 20000} for i in range(2, 6)]}
        status, said = server.ask("/v1/history", refused, key=text)
        assert status == 507, (status, said)
        say(f"POST /history on a full disk: {status} {said}")
        assert server.metrics(text)["requests_failed_total"] == 0
        os.remove(ballast)
        assert server.ask("/v1/history", refused, key=text)[0] == 200, "there is room, and it is refused"
        later = keys(data, "create", "after")["key"]
        assert server.ask("/v1/models", key=later)[0] == 200
        assert stream(server, QUESTIONS[1], later) == (answers[1], True)
    names = [k["name"] for k in keys(data, "list")]
    assert names == ["before", "after"], names
    with Server(*options, model=NANO, key=None, log=log) as server:
        assert '"c1"' in server.ask("/v1/history", key=text)[1] and '"c5"' in server.ask("/v1/history", key=text)[1]
        assert stream(server, QUESTIONS[2], text) == (answers[2], True)
    used = sum(u["requests"] for u in keys(data, "usage"))
    say(f"{used} of {len(QUESTIONS) + 3} requests are counted: those while the disk was full are in the log")
    for kind, n in said_in(log).items():
        say(f"the log, {n} times: {kind}")
    assert any("was not written" in kind for kind in said_in(log)), "the log does not say that usage was lost"
    assert any("not kept on disk any more" in kind for kind in said_in(log)), "the log does not say that prompts are not kept"


def disk_full():
    if os.geteuid() != 0:
        say("disk_full is left out: it mounts a file system, which needs root")
        return
    answers = undisturbed()
    with tempfile.TemporaryDirectory() as outer:
        folder = outer + "/small"
        os.mkdir(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "lisao-test", folder], check=True)
        try:
            full_case(folder, answers)
        finally:
            subprocess.run(["umount", folder], check=True)


if __name__ == "__main__":
    run([kills, damage, disk_full])
