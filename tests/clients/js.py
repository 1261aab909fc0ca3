"""Starts a server and sdks.mjs beside the packages that it imports."""
import os
import shutil
import subprocess
import sys

from common import KEY, Server

folder = os.environ["CLIENTS_NODE"]
script = shutil.copy(os.path.join(os.path.dirname(__file__), "sdks.mjs"), folder)
with Server("--act", "a16") as server:
    env = dict(os.environ, LISAO_URL=server.url, LISAO_KEY=KEY)
    node = os.path.join(folder, "node_modules", ".bin", "node")
    sys.exit(subprocess.run([os.path.abspath(node), os.path.basename(script), *sys.argv[1:]], cwd=folder, env=env).returncode)
