#!/bin/sh
# Makes the file system of the image from the npm package: make-root.sh TARBALL FOLDER. No shell, no npm, no package manager in it: the
# code, its Node, the libraries that Node is linked to, and a user.
set -eu
tarball=$1 root=$2
mkdir -p "$root/app" "$root/etc" "$root/tmp"
npm install --silent --no-audit --no-fund --prefer-offline --omit=dev --prefix "$root/app" "$tarball" >/dev/null
modules=$root/app/node_modules
find "$modules" \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \) -delete
install -D "$modules"/node-linux-*/bin/node "$root/usr/bin/node"
rm -rf "$modules"/node-linux-* "$modules/.bin" "$modules/dpd-offload/docs" "$modules/dpd-offload/bin"
# With the loader, and what the C library loads by itself to resolve names.
for library in $(ldd "$root/usr/bin/node" | grep -o '/[^ ]*\.so[^ ]*') $(ldconfig -p | grep -oE '/[^ ]*/lib(nss_dns|nss_files|resolv|crypto)\.so\.[0-9]+$'); do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
echo 'dpd:x:65532:65532::/tmp:/nonexistent' > "$root/etc/passwd"
echo 'dpd:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
