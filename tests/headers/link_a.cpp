// SPDX-License-Identifier: Apache-2.0
//
// The first of two translation units that include the whole library.
#include "poison.hpp"

#include <morphkv/morphkv.hpp>

int version_seen_by_the_other_unit();

int main() { return version_seen_by_the_other_unit() == MORPHKV_VERSION ? 0 : 1; }
