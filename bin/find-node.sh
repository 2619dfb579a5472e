# Sourced by the programs here. Sets `node`, the Node that runs them, and `main`, the folder of the code, with its suffix `ts` or `js`.
# The package brings its own Node; one from PATH is taken only if it is new enough.
needed=26
root=$(dirname "$here")
if [ -d "$root/dist" ] && [ ! -d "$root/services" ]; then
  main=$root/dist suffix=js
else
  main=$root suffix=ts
fi
for node in "$root"/node_modules/node-linux-*/bin/node "$root"/../node-linux-*/bin/node "$(command -v node || true)" ""; do
  [ -x "$node" ] || continue
  version=$("$node" --version 2>/dev/null) || continue
  major=${version#v}
  [ "${major%%.*}" -ge "$needed" ] && break
  found="$node is $version"
done
if [ -z "$node" ]; then
  echo "dpd-offload: needs Node $needed or later, and has none of its own${found:+; $found}: npm has none for this system, or left it out" >&2
  exit 2
fi
