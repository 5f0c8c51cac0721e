# SPDX-License-Identifier: Apache-2.0
# Headers for Doxygen, line by line: a reader types no name of an inline namespace.
s/^\(namespace morphkv {\) inline namespace MORPHKV_ABI {/\1/
s/::inline MORPHKV_BUILD//
s/^}\(.*\/\/ namespace morphkv\)::v[0-9]*/\1/
# Attributes are warnings for the compiler, and only lengthen a signature.
s/\[\[nodiscard\]\] *//g
s/\[\[maybe_unused\]\] *//g
