// SPDX-License-Identifier: Apache-2.0
#define MORPHKV_KERNELS_IMPLEMENTATION
#include <morphkv/morphkv.hpp>
