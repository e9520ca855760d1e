#!/usr/bin/env bash
# Install the Debian packages that tests and graders want.  Again is harmless: what is there
# is left as it is.
#
#   bubblewrap   the sandbox in which `workbench grade` runs answers.  Without it grading
#                works, says UNISOLATED on every line, and the tests of the sandbox are skipped.
set -euo pipefail

packages=(bubblewrap)

if ! command -v apt-get >/dev/null; then
    echo "debian.sh: this system has no apt-get; install with its own tools: ${packages[*]}" >&2
    exit 1
fi

missing=()
for each in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$each" 2>/dev/null) || status=
    if [ "$status" != installed ]; then
        missing+=("$each")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "debian.sh: already installed: ${packages[*]}"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi
echo "debian.sh: installing ${missing[*]}${as_root:+, with sudo}"
"${as_root[@]}" apt-get update --quiet
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"
