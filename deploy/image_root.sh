#!/bin/bash
# Builds the root filesystem of a container image without a container engine: the programs, the libraries they are linked with, and
# the few files that name look-ups and TLS read. Usage: image_root.sh PROGRAM... DIRECTORY
set -euo pipefail

programs=("${@:1:$#-1}")
root=${*: -1}
loader_output=$(for program in "${programs[@]}"; do ldd "$program"; done)

copy() { # a file, to the same place below the root, links followed
    install -D -m "${2:-644}" "$(realpath "$1")" "$root$1"
}

rm -rf "$root"
install -d "$root"/{dev,proc,sys,tmp,etc/ssl/certs,run,var/lib,usr/local/bin}
chmod 1777 "$root/tmp"
ln -s /run "$root/var/run"

for program in "${programs[@]}"; do
    install -m 755 "$program" "$root/usr/local/bin/"
    strip --strip-unneeded "$root/usr/local/bin/$(basename "$program")"
done

# "libssl.so.3 => /lib/.../libssl.so.3 (0x...)" and "/lib64/ld-linux-x86-64.so.2 (0x...)"
if grep -q 'not found' <<<"$loader_output"; then
    echo "image_root: ${programs[*]}: $(grep 'not found' <<<"$loader_output" | head -1)" >&2
    exit 1
fi
for library in $(awk '/=> \// { print $3 } /^[[:space:]]*\// { print $1 }' <<<"$loader_output" | sort -u); do
    copy "$library" 755
done
# Loaded by name when a thread is cancelled or a stack is walked.
unwinder=$(find /lib /usr/lib -name libgcc_s.so.1 -path "*$(uname -m)*" 2>/dev/null | head -1)
if [ -n "$unwinder" ]; then
    copy "$unwinder"
fi

certificates=/etc/ssl/certs/ca-certificates.crt
if [ ! -f "$certificates" ]; then
    echo "image_root: $certificates is missing; install ca-certificates" >&2
    exit 1
fi
copy "$certificates"

echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
printf 'root:x:0:0:root:/:/sbin/nologin\nztunnel:x:1337:1337:ztunnel:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\nztunnel:x:1337:\nnogroup:x:65534:\n' > "$root/etc/group"
# The container's runtime mounts its own over these.
touch "$root/etc/resolv.conf" "$root/etc/hosts" "$root/etc/hostname"

size_kib=$(du -sk "$root" | cut -f1)
echo "image root: $root, $((size_kib / 1024)) MiB"
