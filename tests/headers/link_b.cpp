// SPDX-License-Identifier: Apache-2.0
//
// The second of two translation units that include the whole library.
#include "poison.hpp"

#include <morphkv/morphkv.hpp>

int version_seen_by_the_other_unit();

int version_seen_by_the_other_unit() { return MORPHKV_VERSION; }
