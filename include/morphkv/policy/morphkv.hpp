// SPDX-License-Identifier: Apache-2.0
/// \file
/// MorphKV (arXiv 2503.00979, ICML 2025), as the paper defines it.
#ifndef MORPHKV_POLICY_MORPHKV_HPP
#define MORPHKV_POLICY_MORPHKV_HPP

#include <algorithm>
#include <cstddef>

#include "morphkv/eviction/scored_eviction.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/recent_window.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A head holds `capacity` tokens: the `window` most recent ones, and the older ones that the
/// window pays most attention to:
///
///     F[j] = sum or max over i in window of a_i[j]      (section 3 of the paper)
///
/// The new token overwrites the one with the lowest F. A query scores once its token has attended.
///
/// The authors' windows are short, and a token that a short window does not attend to has no score.
/// By default the window is half of the capacity, in 8 panes of maxima: on a real model that
/// diverges far less from the full cache (docs/choose_a_policy.md), in 20 bytes per slot.
class MorphKV : public ScoredEviction<RecentWindow> {
 public:
  struct Options {
    std::size_t capacity = 2048;  ///< M: tokens a head holds, the window included
    std::size_t window = 0;       ///< R: newest tokens; they are kept, and their queries score.
                                  ///< 0: half of the capacity; with Fusion::sum at most 255
    Fusion fusion = Fusion::max;
    GroupFusion group = GroupFusion::max;
    std::size_t sinks = default_sinks;  ///< 0 is the bare paper
    bool protect_prompt = false;
    std::size_t panes = 0;    ///< of the window, see RecentWindow; 0: exact, or 8 if window is 0
    std::size_t history = 0;  ///< how many tokens rollback() can take back

    friend bool operator==(const Options&, const Options&) = default;
  };

  /// The options with the window and the panes that 0 stands for.
  [[nodiscard]] static Options resolved(Options o) noexcept {
    if (o.window != 0) return o;
    const std::size_t longest = o.fusion == Fusion::sum ? 255 : o.capacity;
    const std::size_t half = (std::max)((std::min)(o.capacity / 2, longest), std::size_t{1});
    if (o.panes == 0) o.panes = (std::min)(half, std::size_t{8});
    o.window = (std::max)(half / o.panes, std::size_t{1}) * o.panes;
    return o;
  }

  /// \throws std::invalid_argument if capacity is below window + sinks or not above window, or the
  ///         window's options do not fit each other (see RecentWindow).
  [[nodiscard]] static Plan plan_of(const Options& options) {
    const Options o = resolved(options);
    return {make_rules({.schedule = Schedule::on_arrival,
                        .group = o.group,
                        .capacity = o.capacity,
                        .recent = o.window,
                        .sinks = o.sinks,
                        .protect_prompt = o.protect_prompt,
                        .recent_name = "window"}),
            make_recent_window(o.window, o.panes, o.fusion)};
  }

  explicit MorphKV(const Options& options, std::size_t /*head*/ = 0)
      : ScoredEviction(plan_of(options), options.history) {}
};

static_assert(RevocablePolicy<MorphKV>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_MORPHKV_HPP
