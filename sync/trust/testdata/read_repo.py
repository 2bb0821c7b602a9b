"""Reads a repository with the client of python-tuf: read_repo.py URL ROOT CACHE TARGET

Prints the path of the downloaded target; any refusal is an exit code of 1.
"""

import os
import sys

from tuf.ngclient import Updater

url, root, cache, name = sys.argv[1:]
os.makedirs(cache, exist_ok=True)
with open(root, "rb") as f:
    trusted = f.read()
updater = Updater(metadata_dir=cache, metadata_base_url=url + "/metadata/", target_base_url=url + "/targets/", target_dir=cache, bootstrap=trusted)
updater.refresh()
info = updater.get_targetinfo(name)
if info is None:
    sys.exit("no such target")
print(updater.download_target(info))
