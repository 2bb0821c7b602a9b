#!/usr/bin/env bash
# The real heron and heron-vision with a real V4L2 device, the kernel's test camera vivid, in a QEMU machine that emulates every instruction
# (no KVM; root only to install QEMU; no network inside): stall, unplug, renumbering, busy, denied, memory and processor limits.
# usage: scripts/test-vm.sh [CASE…]     all without a name; non-zero when one fails or none came to its end
. "$(dirname "$0")/env.sh"
. scripts/vm/image.sh

LIMIT=900 # seconds from power on to power off; three to six minutes are needed

[ "$(uname -m)" = x86_64 ] || die "make test-vm starts an x86-64 machine with this machine's libraries; this is $(uname -m)"
[ -x bin/heron ] && [ -x bin/heron-vision ] || die "bin/heron or bin/heron-vision is missing; run make build"
mkdir -p "$VM"
exec 9>"$VM/lock"
flock -n 9 || die "another make test-vm runs in this folder; wait for its end"
: >"$VM/setup.log"
vm_qemu
vm_packages
vm_base
vm_top

wanted=$("$VM/top/opt/heron/vm" names)
for name in "$@"; do
  grep -qx -e "$name" <<<"$wanted" || die "no case is called \"$name\"; there are: $(echo $wanted)"
done
[ $# = 0 ] || wanted=$(printf '%s\n' "$@")

: >"$VM/console.log"
: >"$VM/cases.log"
say "vm: $(wc -w <<<"$wanted") cases in an emulated machine, three to six minutes; what the programs say is in ${VM#"$ROOT"/}/console.log"
start=$SECONDS
timeout -k 5 "$LIMIT" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -display none -monitor none -no-reboot -nic none \
  -kernel "$VM/packages/vmlinuz" -initrd "$VM/initrd" -append "console=ttyS0 panic=-1 quiet heron_cases=$(IFS=,; echo "$*")" \
  -serial "file:$VM/console.log" -serial "file:$VM/cases.log" </dev/null >"$VM/qemu.log" 2>&1 9>&- &
qemu=$!
trap 'kill "$qemu" 2>/dev/null || true' EXIT
tail -q -s 0.5 -n +1 -f --pid="$qemu" "$VM/cases.log" 9>&- | sed -u 's/\r$//; s/^/  /'
code=0
wait "$qemu" || code=$?
trap - EXIT

bad=$(sed -n 's/^not ok \([^ ]*\) .*/\1/p' "$VM/cases.log")
unfinished=$(for name in $wanted; do grep -q -e "^ok $name " -e "^not ok $name " "$VM/cases.log" || echo "$name"; done)
if [ -n "$unfinished" ]; then
  say "vm: the machine ended (code $code$([ $code != 124 ] || echo ": not done within $LIMIT s")) before: $(echo $unfinished)"
  cat "$VM/qemu.log"
  tail -n 20 "$VM/console.log"
fi
passed=$(grep -c '^ok ' "$VM/cases.log" || true)
say "vm: $passed passed, $(wc -w <<<"$bad") failed${bad:+ ($(echo $bad))}, $(wc -w <<<"$unfinished") not run, in $((SECONDS - start)) s"
[ -z "$bad$unfinished" ]
