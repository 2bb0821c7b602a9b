# Sourced by scripts/test-vm.sh: what the machine boots from. All of it is kept in .cache/vm and made anew when what it is made of changes.
VM=$CACHE/vm
PACKAGES="busybox-static v4l-utils" # and the kernel; taken apart here, not installed
MODULE=vivid

vm_log() { "$@" </dev/null >>"$VM/setup.log" 2>&1; }

vm_update() {
  [ -z "${vm_updated:-}" ] || return 0
  local sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo"
  vm_log $sudo apt-get update -qq || say "vm: apt-get update failed (see $VM/setup.log); going on with the lists that are there"
  vm_updated=yes
}

# vm_qemu installs the emulator where it is missing.
vm_qemu() {
  local start=$SECONDS sudo=
  command -v qemu-system-x86_64 >/dev/null && return
  command -v apt-get >/dev/null || die "qemu-system-x86_64 is missing and this is not Debian: install QEMU for x86-64 and run this again"
  [ "$(id -u)" = 0 ] || { sudo=sudo; command -v sudo >/dev/null || die "QEMU is missing; run as root: apt-get install --no-install-recommends qemu-system-x86"; }
  say "vm: installing QEMU (qemu-system-x86)${sudo:+ with sudo} …"
  vm_update
  vm_log $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends qemu-system-x86 ||
    die "installing qemu-system-x86 failed (is there a network?); see $VM/setup.log"
  say "vm: QEMU installed in $((SECONDS - start)) s"
}

# vm_packages fetches Debian's kernel and tools as packages and keeps of them what the machine needs: 30 MB.
vm_packages() {
  local start=$SECONDS to=$VM/packages kernel modules module
  [ -e "$to/complete" ] && return
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || die "make test-vm takes its kernel from Debian's packages and finds no apt-get here"
  vm_update
  kernel=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
  [ -n "$kernel" ] || die "apt knows no package linux-image-amd64 (the kernel with the driver $MODULE); is this Debian, and is there a network?"
  say "vm: fetching $kernel $PACKAGES (70 MB; nothing is installed) …"
  rm -rf "$to" "$to.part"
  mkdir -p "$to.part/debs" "$to.part/all"
  (cd "$to.part/debs" && vm_log apt-get download $kernel $PACKAGES) || die "fetching $kernel $PACKAGES failed; see $VM/setup.log"
  for deb in "$to.part"/debs/*.deb; do
    dpkg-deb -x "$deb" "$to.part/all" || die "unpacking $deb failed"
  done
  cd "$to.part"
  modules=lib/modules/${kernel#linux-image-}
  all/bin/busybox depmod -b all "${kernel#linux-image-}" || die "depmod failed over $kernel"
  mkdir -p "root/$modules" root/bin root/usr/bin
  grep -q "/$MODULE.ko:" "all/$modules/modules.dep" || die "$kernel has no driver $MODULE"
  for module in $(sed -n "s/^\(.*\/$MODULE.ko\): */\1 /p" "all/$modules/modules.dep"); do
    install -D -m 644 "all/$modules/$module" "root/$modules/$module"
  done
  cp "all/$modules"/modules.{builtin,builtin.modinfo,order} "root/$modules/"
  all/bin/busybox depmod -b root "${kernel#linux-image-}"
  cp all/bin/busybox root/bin/
  ln -s busybox root/bin/sh
  cp all/usr/bin/v4l2-ctl root/usr/bin/
  cp "all/boot/vmlinuz-${kernel#linux-image-}" vmlinuz
  rm -rf all debs
  touch complete
  cd "$ROOT"
  mv "$to.part" "$to"
  say "vm: $kernel fetched and unpacked in $((SECONDS - start)) s"
}

# vm_libraries are the files that heron-vision and v4l2-ctl are linked with, one a line.
vm_libraries() {
  local program missing
  for program in bin/heron-vision "$VM/packages/root/usr/bin/v4l2-ctl"; do
    missing=$(ldd "$program" | sed -n 's/^\t\(.*\) => not found/\1/p')
    [ -z "$missing" ] || die "$program needs $missing, which this system does not have; run make build"
    ldd "$program"
  done | sed -n -e 's/.* => \(\/[^ ]*\) .*/\1/p' -e 's/^\t\(\/[^ ]*\) .*/\1/p' | sort -u
}

# vm_base is the part of the file system that seldom changes: kernel modules, tools, libraries (270 MB).
vm_base() {
  local start=$SECONDS libs key file
  libs=$(vm_libraries)
  key=$({ stat -L -c '%n %s %Y' $libs "$VM/packages/complete"; cat scripts/vm/image.sh; } | sha256sum | cut -c1-16)
  base=$VM/base.$key
  [ -e "$base" ] && return
  rm -rf "$VM"/base.* "$VM/root"
  cp -a "$VM/packages/root" "$VM/root"
  mkdir -p "$VM"/root/{proc,sys,dev,run,tmp,opt,etc}
  for file in $libs; do
    mkdir -p "$VM/root${file%/*}"
    cp -L "$file" "$VM/root$file"
  done
  vm_pack "$VM/root" "$base.part"
  mv "$base.part" "$base"
  rm -rf "$VM/root"
  say "vm: file system with $(wc -l <<<"$libs") libraries made in $((SECONDS - start)) s"
}

# vm_top lays this build's programs over it.
vm_top() {
  rm -rf "$VM/top"
  mkdir -p "$VM/top/opt/heron"
  cp bin/heron bin/heron-vision "$VM/top/opt/heron/"
  CGO_ENABLED=0 go build -trimpath -o "$VM/top/opt/heron/vm" ./scripts/vm
  install -m 755 scripts/vm/init "$VM/top/init"
  vm_pack "$VM/top" "$VM/top.cpio"
  cat "$base" "$VM/top.cpio" >"$VM/initrd" # the kernel unpacks one after the other
}

# vm_pack FOLDER FILE: as the kernel wants it.
vm_pack() { (cd "$1" && find . | "$VM/packages/root/bin/busybox" cpio -o -H newc -R 0:0 >"$2" 2>>"$VM/setup.log") || die "packing $1 failed; see $VM/setup.log"; }
