#!/bin/sh
# Runs after `npm install` in a clone: makes sure there is the project's Node, and a redis-server for nodes that are given no REDIS_URL.
# npm leaves out a Node that it cannot fetch, or that is not for this system, without a word. The installed package changes nothing
# of the machine.
[ -f tsconfig.json ] || exit 0
[ -x node_modules/.bin/node ] || echo "dpd-offload: the project's own Node is missing: npm has none for this system, or could not fetch it" >&2
command -v redis-server >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "dpd-offload: installing redis-server"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server; } >/dev/null 2>&1
  command -v redis-server >/dev/null 2>&1 && exit 0
fi
echo "dpd-offload: redis-server is missing: sudo apt-get install redis-server (or set REDIS_URL to one of yours)" >&2
exit 0
