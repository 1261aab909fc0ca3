"""What the client tests share: a server of their own, requests, what it holds, and cases that are counted."""
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import traceback

LISAO = os.environ.get("LISAO", "build/lisao")
MODEL = os.environ.get("LISAO_MODEL", "SmolLM2-135M-Instruct.Q4_1")
NANO = os.environ.get("LISAO_MODEL", "models/lisao-nano/lisao-nano.gguf")  # for what any model can show; it thinks and calls
KEY = "test-key-of-this-run"
PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """`lisao serve` on a free port of loopback; ends with the block.

    key: the one that is let in; None: those of the folder --data. log: a file that its standard error is added to."""

    def __init__(self, *options, model=MODEL, key=KEY, log=None):
        self.command = [LISAO, "serve", model, "--port", "0", *options]
        self.key, self.log = key, log

    def __enter__(self):
        env = {name: value for name, value in os.environ.items() if name != "LISAO_API_KEY"}
        if self.key:
            env["LISAO_API_KEY"] = self.key
        with open(self.log or os.devnull, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, env=env, text=True, stderr=log)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with {self.process.wait()} before it listened: {' '.join(self.command)}")
        self.url = re.fullmatch(r"listening on (\S+)\n", line).group(1)
        self.port = int(self.url.rsplit(":", 1)[1])
        self.pid = self.process.pid
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.code = self.process.wait(timeout=40)
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, path, body=None, key=None, timeout=300, method=None):
        """Status and text of one answer, over a connection of its own; a body is sent as JSON."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            heads = {"Content-Type": "application/json", "Authorization": f"Bearer {key or self.key or ''}"}
            c.request(method or ("GET" if body is None else "POST"), path, None if body is None else json.dumps(body), heads)
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def metrics(self, key=None):
        status, text = self.ask("/metrics", key=key)
        assert status == 200, text
        rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("lisao_"): int(value) for name, value in rows}

    def memory(self):
        """Bytes that it holds in memory, those of mapped files left out."""
        with open(f"/proc/{self.pid}/statm") as f:
            _, resident, shared = [int(x) for x in f.read().split()[:3]]
        return (resident - shared) * PAGE

    def files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu(self):
        """Seconds of CPU time that it has used."""
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def events(text):
    """The data of a stream's events."""
    lines = [e[6:] for e in text.split("\n") if e.startswith("data: ")]
    return [json.loads(e) for e in lines if e != "[DONE]"]


def say(text):
    print("# " + text, flush=True)


def run(cases, *arguments):
    """Runs cases whose names hold one of the command line's words; the last line counts them."""
    words, passed, failed = sys.argv[1:], 0, 0
    for case in cases:
        name = case.__name__
        if words and not any(word in name for word in words):
            continue
        try:
            case(*arguments)
            passed += 1
            print(f"ok - {name}", flush=True)
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"not ok - {name}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)
