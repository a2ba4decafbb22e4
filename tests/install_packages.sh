#!/bin/bash
# Installs every Debian package that building, testing, the demo and the benchmarks need. Says nothing to do when all are there.
# Services that packages bring (nginx, redis) are not started.
set -euo pipefail

PACKAGES=(
    build-essential pkg-config git
    clang clang-format clang-tidy libclang-rt-14-dev
    libssl-dev libnghttp2-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
    libjansson-dev libfyaml-dev libxxhash-dev libcap-ng-dev libseccomp-dev libc-ares-dev zlib1g-dev systemtap-sdt-dev
    libcmocka-dev
    iproute2 nftables tcpdump procps strace linux-perf openssl
    bind9-dnsutils curl nginx-light redis-server redis-tools iperf3 nghttp2-client
    python3-pytest python3-pytest-xdist python3-h2 python3-grpcio python3-protobuf python3-cryptography python3-yaml
)

# Only where the processor can use it.
if [ "$(dpkg --print-architecture)" = amd64 ]; then
    PACKAGES+=(libipsec-mb-dev)
fi

missing=()
for package in "${PACKAGES[@]}"; do
    if ! dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
        missing+=("$package")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "packages: all ${#PACKAGES[@]} are installed"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "packages: missing ${missing[*]}" >&2
    echo "packages: run this as root, or: sudo tests/install_packages.sh" >&2
    exit 1
fi

echo "packages: installing ${#missing[@]}: ${missing[*]}"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
has_own_policy=no
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    has_own_policy=yes
fi
cleanup() {
    if [ "$has_own_policy" = yes ]; then rm -f "$policy"; fi
    rm -f "$log"
}
trap cleanup EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "packages: apt-get failed, its last lines are above" >&2
    exit 1
fi
echo "packages: installed"
