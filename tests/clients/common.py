"""What the client tests share: a server of their own, and cases that are counted."""
import os
import re
import signal
import subprocess
import sys
import traceback

LISAO = os.environ.get("LISAO", "build/lisao")
MODEL = os.environ.get("LISAO_MODEL", "SmolLM2-135M-Instruct.Q4_1")
KEY = "test-key-of-this-run"


class Server:
    """`lisao serve` on a free port of loopback, with one key, or those of its data folder; ends with the block."""

    def __init__(self, *options, model=MODEL, key=KEY):
        self.command = [LISAO, "serve", model, "--port", "0", *options]
        self.key = key

    def __enter__(self):
        env = {name: value for name, value in os.environ.items() if name != "LISAO_API_KEY"}
        if self.key:
            env["LISAO_API_KEY"] = self.key
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, env=env, text=True,
                                        stderr=subprocess.DEVNULL)
        line = self.process.stdout.readline()
        self.url = re.fullmatch(r"listening on (\S+)\n", line).group(1)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.code = self.process.wait(timeout=40)
        self.process.stdout.close()


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
