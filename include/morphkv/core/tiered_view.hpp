// SPDX-License-Identifier: Apache-2.0
/// \file
/// The rows of a head whose keys or values lie in two formats.
#ifndef MORPHKV_CORE_TIERED_VIEW_HPP
#define MORPHKV_CORE_TIERED_VIEW_HPP

#include <cstddef>

#include "morphkv/core/kv_view.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A vector per slot: of the first `hot_slots` in T, of the others in Cold. Nothing is owned.
template <class T, class Cold>
struct TieredView {
  KvView<T> hot;
  KvView<Cold> cold;  ///< its row 0 is that of slot `hot_slots`
  std::size_t hot_slots = 0;

  /// Calls use(row of the slot), a T* or a Cold*.
  template <class Use>
  void with_row(std::size_t slot, const Use& use) const {
    slot < hot_slots ? use(hot[slot]) : use(cold[slot - hot_slots]);
  }
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_TIERED_VIEW_HPP
