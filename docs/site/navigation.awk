# SPDX-License-Identifier: Apache-2.0
#
# The list of pages beside every page: the links that begin the list items of docs/README.md, under
# its headings.

function close_list() {
  if (open) print "</ul>"
  open = 0
}

/^## / {
  close_list()
  print "<p>" substr($0, 4) "</p>"
}

/^([0-9]+\.|-) \[/ {
  match($0, /\[[^]]*\]/)
  name = substr($0, RSTART + 1, RLENGTH - 2)
  match($0, /\]\([^)]*\)/)
  page = substr($0, RSTART + 2, RLENGTH - 3)
  sub(/.*\//, "", page)
  if (!open) print "<ul>"
  open = 1
  print "<li><a href=\"$relpath^" tolower(substr(page, 1, length(page) - 3)) ".html\">" name "</a></li>"
}

END { close_list() }
