# SPDX-License-Identifier: Apache-2.0
# Headers for Doxygen, line by line: an inline namespace is part of no name that a reader types.
s/^namespace morphkv::inline v[0-9]*/namespace morphkv/
/^namespace morphkv/s/::inline MORPHKV_KERNELS_BUILD//
# Attributes are warnings for the compiler, and only lengthen a signature.
s/\[\[nodiscard\]\] *//g
s/\[\[maybe_unused\]\] *//g
