#!/usr/bin/env python3
"""tests/deploy/replicas.py LISAO MODEL -- two replicas behind HAProxy with packaging/haproxy.cfg, on loopback, under load.

First one replica is ended in order (SIGTERM) and started again, then one is killed (SIGKILL) and started again. Ends with 0 where
  - while one drains, every request is answered whole;
  - while one is killed, every request is answered whole but those streams of it that had begun;
  - all answers to one request are the same, whichever replica gave them;
  - both replicas get requests again in the end.
Not a part of ./check: needs HAProxy (Debian package haproxy). Prints what happened as lines of JSON.
"""
import http.client, json, os, signal, socket, subprocess, sys, tempfile, threading, time
from pathlib import Path

LISAO, MODEL = sys.argv[1:3]
CLIENTS, TOKENS, SECONDS = 8, 200, 8
ROOT = Path(__file__).resolve().parents[2]


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


FRONT, *BACK = free_ports(3)
work = tempfile.TemporaryDirectory()
processes = {}


def replica_start(i):
    log = open(f"{work.name}/replica-{i}.log", "a")
    processes[i] = subprocess.Popen(
        [LISAO, "serve", MODEL, "--port", str(BACK[i]), "--no-keys", "--context", "256", "--threads", "1", "--log", "json"],
        stdout=subprocess.DEVNULL, stderr=log)
    return processes[i]


def ready(port):
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        c.request("GET", "/ready")
        return c.getresponse().status == 200
    except OSError:
        return False


def wait_for(what, true):
    end = time.time() + 120
    while not true():
        if time.time() > end:
            sys.exit(f"not ok - {what}")
        time.sleep(0.05)


def ask(question, stream):
    """The answer's text, or how it failed: "refused" before anything came, "cut" after that."""
    body = {"messages": [{"role": "user", "content": f"The river {question}"}], "max_tokens": TOKENS, "seed": question,
            "temperature": 1, "stream": stream, "ignore_eos": True}
    begun = False
    try:
        c = http.client.HTTPConnection("127.0.0.1", FRONT, timeout=60)
        c.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        if r.status != 200:
            return "refused", str(r.status)
        if not stream:
            return "whole", json.load(r)["choices"][0]["message"]["content"]
        text, done = "", False
        for line in r:
            begun = True
            line = line.decode().strip()
            if line == "data: [DONE]":
                done = True
            elif line.startswith("data: "):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
        return ("whole", text) if done else ("cut", "")
    except (OSError, http.client.HTTPException, ValueError) as e:
        return ("cut" if begun else "refused"), type(e).__name__


def load(deed):
    """Clients ask for some seconds, every other one by streams; in the midst `deed` is done. What came of the requests."""
    results, lock, end = [], threading.Lock(), time.time() + SECONDS

    def client(k):
        n = 0
        while time.time() < end:
            question, stream = (k * 7 + n) % 5, k % 2 == 0
            began = time.time()
            how, text = ask(question, stream)
            with lock:
                results.append((how, question, stream, text, time.time() - began))
            n += 1

    threads = [threading.Thread(target=client, args=(k,)) for k in range(CLIENTS)]
    for t in threads:
        t.start()
    time.sleep(SECONDS / 3)
    deed()
    for t in threads:
        t.join()
    return results


def said(i):
    return sum('"/chat/completions"' in line for line in open(f"{work.name}/replica-{i}.log"))


def shown(name, results, **more):
    count = lambda how, stream: sum(r[0] == how and r[2] == stream for r in results)
    times = sorted(r[4] for r in results if r[0] == "whole")
    print(json.dumps({"part": name, "requests": len(results), "whole": count("whole", True) + count("whole", False),
                      "streams_cut": count("cut", True), "refused_streams": count("refused", True), "refused_whole": count("refused", False),
                      "whole_cut": count("cut", False), "p50_s": round(times[len(times) // 2], 3), "max_s": round(times[-1], 3), **more}))


texts, failed = {}, []


def check(name, results, may_cut):
    for how, question, stream, text, _ in results:
        if how == "whole" and texts.setdefault(question, text) != text:
            failed.append(f"{name}: two answers to one question")
        if how == "refused" or (how == "cut" and not (may_cut and stream)):
            failed.append(f"{name}: {'a stream' if stream else 'a request'} was {how} ({text})")


def drain():
    processes[0].send_signal(signal.SIGTERM)
    if processes[0].wait(timeout=60) != 0:
        failed.append("drain: the replica did not end in order")
    replica_start(0)


def kill():
    processes[1].kill()
    processes[1].wait()
    replica_start(1)


try:
    for i in (0, 1):
        replica_start(i)
    for i in (0, 1):
        wait_for("a replica starts", lambda: ready(BACK[i]))
    environment = os.environ | {"LISAO_BIND": f"127.0.0.1:{FRONT}", "LISAO_REPLICA_A": f"127.0.0.1:{BACK[0]}", "LISAO_REPLICA_B": f"127.0.0.1:{BACK[1]}"}
    processes["proxy"] = subprocess.Popen(["haproxy", "-db", "-f", ROOT / "packaging/haproxy.cfg"], env=environment,
                                          stdout=open(f"{work.name}/proxy.log", "w"), stderr=subprocess.STDOUT)
    wait_for("the proxy starts", lambda: ready(FRONT))
    for name, deed, may_cut in (("nothing happens", lambda: None, False), ("one drains", drain, False), ("one is killed", kill, True)):
        results = load(deed)
        check(name, results, may_cut)
        shown(name, results)
        for i in (0, 1):
            wait_for("a replica comes back", lambda: ready(BACK[i]))
        time.sleep(1.5)
    before = [said(0), said(1)]
    check("after", load(lambda: None), False)
    after = [said(i) - before[i] for i in (0, 1)]
    print(json.dumps({"part": "after", "by_replica": after}))
    if min(after) == 0:
        failed.append("after: a replica gets no requests")
finally:
    for p in processes.values():
        p.kill()
        p.wait()
    work.cleanup()
for line in sorted(set(failed)):
    print(f"not ok - {line}: {failed.count(line)}")
sys.exit(1 if failed else 0)
