# SPDX-License-Identifier: Apache-2.0
#
# Pages for Doxygen: headings get the anchors that GitHub gives them, and links that GitHub follows
# by path become references. A page is known by its file's name, a heading by page and anchor.

function page_of(path) {
  sub(/.*\//, "", path)
  sub(/\.md$/, "", path)
  path = tolower(path)
  return path == "readme" ? "index" : path
}

function anchor(heading) {
  gsub(/`/, "", heading)
  heading = tolower(heading)
  gsub(/[^a-z0-9 _-]/, "", heading)
  gsub(/ /, "-", heading)
  return heading
}

function target(link, parts, count) {
  if (link == "docs/") return "index.html"
  count = split(link, parts, "#")
  if (link ~ /^#/) return "#" page "-" parts[2]
  if (parts[1] ~ /\.md$/) return "#" page_of(parts[1]) (count > 1 ? "-" parts[2] : "")
  if (parts[1] ~ /include\/morphkv\//) {
    sub(/.*include\//, "", link)
    return "@ref " link
  }
  if (parts[1] ~ /examples\/[a-z_]+\.cpp$/) {
    sub(/.*\//, "", link)
    sub(/\.cpp$/, "_8cpp-example.html", link)
    return link
  }
  return link
}

BEGIN { page = page_of(ARGV[1]) }

/^```/ { code = !code }

!code && /^# / && page != "index" { print $0 " {#" page "}"; next }

!code && /^##+ / {
  heading = $0
  sub(/^#+ /, "", heading)
  print $0 " {#" page "-" anchor(heading) "}"
  next
}

!code {
  line = ""
  rest = $0
  while (match(rest, /\]\([^)]*\)/)) {
    line = line substr(rest, 1, RSTART + 1) target(substr(rest, RSTART + 2, RLENGTH - 3)) ")"
    rest = substr(rest, RSTART + RLENGTH)
  }
  $0 = line rest
}

{ print }
