#!/bin/sh
# Builds a Debian package of node, agent and failover worker, with the Node that they run on: npm run deb -- [FOLDER].
# It is the npm package, installed below /usr/lib, with the systemd units. Needs npm and dpkg-deb.
set -eu
cd "$(dirname "$0")/.."
out=${1:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
arch=$(dpkg --print-architecture)

npm pack --silent --pack-destination "$work" >/dev/null
lib=$work/deb/usr/lib/dpd-offload
mkdir -p "$lib" "$work/deb/DEBIAN" "$work/deb/usr/bin" "$work/deb/usr/share/doc"
npm install --silent --no-audit --no-fund --prefer-offline --omit=dev --prefix "$lib" "$work/dpd-offload-$version.tgz" >/dev/null
# Types and maps are for developers.
rm -rf "$lib/package.json" "$lib/package-lock.json" "$lib/node_modules/.package-lock.json"
find "$lib" \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \) -delete

own=node_modules/dpd-offload
for program in "$lib/$own"/bin/dpd*; do
  ln -s "../lib/dpd-offload/$own/bin/${program##*/}" "$work/deb/usr/bin/${program##*/}"
done
install -D -m 644 -t "$work/deb/usr/lib/systemd/system" deploy/systemd/*.service
ln -s "../../lib/dpd-offload/$own" "$work/deb/usr/share/doc/dpd-offload"
install -d -m 700 "$work/deb/etc/dpd-offload"

cat > "$work/deb/DEBIAN/control" <<CONTROL
Package: dpd-offload
Version: $version
Architecture: $arch
Maintainer: DPD offload <root@localhost>
Installed-Size: $(du -sk "$work/deb" | cut -f1)
Depends: libc6 (>= 2.28), libstdc++6, libatomic1
Recommends: redis-server | valkey-server, nftables
Suggests: strongswan-swanctl, libcharon-extra-plugins
Section: net
Priority: optional
Description: Dead Peer Detection for IPsec hubs, beside the hub
 Node (dpd-node), agent of a hub (dpd-agent) and failover worker
 (dpd-failover), with the Node.js that they run on. No service is enabled or
 started: each needs settings and certificates in /etc/dpd-offload first.
CONTROL
cat > "$work/deb/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
[ -n "${DPKG_ROOT:-}" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload || true
SCRIPT
cat > "$work/deb/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
# Before the package goes its services end: an agent gives the SAs back, a node gives its shards away.
set -e
[ "$1" = remove ] || exit 0
[ -n "${DPKG_ROOT:-}" ] || [ ! -d /run/systemd/system ] || systemctl stop dpd-agent dpd-node dpd-failover || true
SCRIPT
chmod 755 "$work/deb/DEBIAN/postinst" "$work/deb/DEBIAN/prerm"

mkdir -p "$out"
# Fast rather than small: most of it is Node, which hardly shrinks any more.
dpkg-deb --root-owner-group -Zzstd -z3 --build "$work/deb" "$out/dpd-offload_${version}_$arch.deb" >/dev/null
echo "$out/dpd-offload_${version}_$arch.deb"
