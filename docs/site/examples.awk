# SPDX-License-Identifier: Apache-2.0
#
# The small programs of examples/ as Doxygen's examples, described by the comment at their beginning.

FNR == 1 {
  name = FILENAME
  sub(/.*\//, "", name)
  comment = 0
}

/^\/\/\/ \\file/ {
  print "/** \\example " name
  comment = 1
  next
}

comment && /^\/\/\// {
  print " *" substr($0, 4)
  next
}

comment {
  print " */"
  comment = 0
}
