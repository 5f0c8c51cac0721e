#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the site from docs/ and the headers: build/docs/html. A warning of Doxygen or a link that
# leads nowhere is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly out=build/docs
readonly html="$out/html"

version() {
  sed -n 's/^#define MORPHKV_VERSION_\(MAJOR\|MINOR\|PATCH\) \([0-9]*\)$/\2/p' \
    include/morphkv/version.hpp | paste -sd.
}

# Links of the pages whose target is not there. (Doxygen has checked the places within pages.)
broken_links() {
  local link
  grep -hoE 'href="[^"#:]+["#]' -- "$html"/*.html | cut -d'"' -f2 | sort -u | while read -r link; do
    link="${link%#}"
    [[ -e "$html/$link" ]] ||
      grep -lF "href=\"$link" -- "$html"/*.html | sed "s|.*/\(.*\)|\1: no such page: $link|"
  done
}

rm -rf "$html"
mkdir -p "$out"
awk -f docs/site/navigation.awk docs/README.md >"$out/navigation.html"
awk -f docs/site/examples.awk examples/*.cpp >"$out/examples.dox"
sed -e "/@NAVIGATION@/{r $out/navigation.html" -e 'd}' docs/site/header.html >"$out/header.html"
MORPHKV_VERSION="$(version)" doxygen docs/site/Doxyfile
# The search's results are pages of their own, which the style sheet of the others does not reach.
cat docs/site/search.css >>"$html/search/search.css"

broken_links >>"$out/warnings.txt"
if [[ -s "$out/warnings.txt" ]]; then
  sed "s|^$PWD/||" "$out/warnings.txt"
  exit 1
fi
printf 'The site: %s\n' "$PWD/$html/index.html"
