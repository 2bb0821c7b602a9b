"""Writes a repository with python-tuf for the Go client to read: write_repo.py DIR [later|shared|short]

DIR gets metadata/ and targets/. With "later" the snapshot and targets keys have been rotated twice, and there is a second version. With "shared"
targets wants two signatures of three keys and the family two of two, each of another kind; with "short" one of the family's is missing.
"""

import os
import sys
from datetime import datetime, timedelta, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

out, how = sys.argv[1], (sys.argv + [""])[2]
later, shared = how == "later", how in ("shared", "short")
end = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
os.makedirs(os.path.join(out, "metadata"), exist_ok=True)


def put(name, md, signers):
    md.signatures.clear()
    for s in signers:
        md.sign(s, append=True)
    with open(os.path.join(out, "metadata", name + ".json"), "wb") as f:
        f.write(md.to_bytes(JSONSerializer(compact=False)))
    return md


def target(path, data):
    t = TargetFile.from_data(path, data, ["sha256", "sha512"])
    d, _, name = path.rpartition("/")
    os.makedirs(os.path.join(out, "targets", d), exist_ok=True)
    with open(os.path.join(out, "targets", d, t.hashes["sha256"] + "." + name), "wb") as f:
        f.write(data)
    return t


signers = {
    "root": [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()],
    "targets": [CryptoSigner.generate_ecdsa()],
    "snapshot": [CryptoSigner.generate_ed25519()],
    "timestamp": [CryptoSigner.generate_rsa()],
}
if shared:
    signers["targets"] += [CryptoSigner.generate_rsa(), CryptoSigner.generate_ed25519()]
root = Metadata(Root(expires=end))
for role, keys in signers.items():
    for s in keys:
        root.signed.add_key(s.public_key, role)
root.signed.roles["root"].threshold = 2
if shared:
    root.signed.roles["targets"].threshold = 2
put("1.root", root, signers["root"])
if later:
    for role in ["snapshot", "targets"]:
        root.signed.revoke_key(signers[role][0].public_key.keyid, role)
        signers[role] = [CryptoSigner.generate_ed25519()]
        root.signed.add_key(signers[role][0].public_key, role)
        root.signed.version += 1
        put(f"{root.signed.version}.root", root, signers["root"][:2])

family = [CryptoSigner.generate_ed25519()] + ([CryptoSigner.generate_ecdsa()] if shared else [])
delegated = Targets(expires=end)
delegated.targets["bottles/1.4.2"] = target("bottles/1.4.2", b"a model in a bottle")
delegated.targets["bottles/1.4.2"].unrecognized_fields["custom"] = {"runtime": "tflite", "größe": 1}
targets = Targets(expires=end)
role = DelegatedRole("bottles", [], len(family), True, ["bottles/*"])
targets.delegations = Delegations({}, {"bottles": role})
for s in family:
    targets.add_key(s.public_key, "bottles")
md = put("1.bottles", Metadata(delegated), family[: 1 if how == "short" else 2])
put("1.targets", Metadata(targets), signers["targets"][:2])
snapshot = Snapshot(expires=end)
snapshot.meta = {"targets.json": MetaFile(1), "bottles.json": MetaFile.from_data(1, md.to_bytes(JSONSerializer(compact=False)), ["sha256"])}
md = put("1.snapshot", Metadata(snapshot), signers["snapshot"])
timestamp = Timestamp(expires=end, snapshot_meta=MetaFile.from_data(1, md.to_bytes(JSONSerializer(compact=False)), ["sha256"]))
put("timestamp", Metadata(timestamp), signers["timestamp"])
