// SPDX-License-Identifier: Apache-2.0
/// \file
/// The window's update and the search for the least wanted slot: one pass over the slots a step.
#ifndef MORPHKV_KERNELS_WINDOW_UPDATE_HPP
#define MORPHKV_KERNELS_WINDOW_UPDATE_HPP

#include "morphkv/kernels/portable/window_update.hpp"

namespace morphkv::inline v0::kernels {

using portable::replace_row;
using portable::slide_max;
using portable::slide_sum;
using portable::suffix_max;

}  // namespace morphkv::inline v0::kernels

#endif  // MORPHKV_KERNELS_WINDOW_UPDATE_HPP
