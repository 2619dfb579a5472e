#!/bin/sh
# Lints the API, refuses changes that break it against the main branch, and checks that what is generated is fresh.
set -eu
buf lint
# On main itself, it must not break the API of the commit before.
base=$(git rev-parse -q --verify origin/main || echo HEAD~1)
[ "$base" != "$(git rev-parse HEAD)" ] || base=HEAD~1
if git cat-file -e "$base:buf.yaml" 2>/dev/null; then
  buf breaking --against ".git#ref=$base"
else
  echo "buf breaking: no earlier API to compare with"
fi
generated="proto/dpd/v1/operator.proto docs/metrics.md docs/settings.md docs/dependencies.md proto/gen/dpd/v1/* proto/gen/google/rpc/* proto/gen/descriptors.binpb"
before=$(git hash-object $generated)
npm run -s generate
after=$(git hash-object $generated)
[ "$before" = "$after" ] || { echo "generated files were stale: commit what npm run generate made of them" >&2; exit 1; }
