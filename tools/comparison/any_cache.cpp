// SPDX-License-Identifier: Apache-2.0
#define MORPHKV_TOOLS_ANY_CACHE_INSTANCE template
#include "comparison/any_cache.hpp"
