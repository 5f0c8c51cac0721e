// SPDX-License-Identifier: Apache-2.0
/// \file
/// One policy over one trace.
#ifndef MORPHKV_TOOLS_REPLAY_REPLAY_HPP
#define MORPHKV_TOOLS_REPLAY_REPLAY_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "replay/full_attention.hpp"
#include "replay/session.hpp"
#include "replay/trace.hpp"

namespace morphkv::replay {

/// The positions that each KV head keeps, ascending: [head][...].
using KeptOfHeads = std::vector<std::vector<Position>>;

/// A step's loss of each KV head: [step][head].
using Losses = std::vector<std::vector<Loss>>;

/// Runs the tokens of a trace through a cache. Step s is that of the token at position
/// prompt_length - 1 + s: step 0 is the prompt's last token, and the state after it.
class Replay {
 public:
  /// Called after every step, in order.
  using Listener = std::function<void(std::size_t step, const KeptOfHeads& kept)>;

  Replay(const Trace& trace, Session& session, bool compare)
      : trace_(&trace),
        session_(&session),
        compare_(compare),
        full_(trace),
        output_(trace.shape.query_heads * trace.shape.head_dim),
        visible_(trace.shape.query_heads) {}

  /// \param chunk tokens of the prompt at a time; 0 for all at once
  /// \return the losses; empty without a comparison
  /// \throws std::runtime_error if the cache refuses a token, naming it.
  Losses run(std::size_t chunk, const Listener& listener) {
    prefill(chunk == 0 ? trace_->prompt_length : chunk);
    finish_step(listener);
    for (std::size_t token = trace_->prompt_length; token < trace_->tokens; ++token) {
      decode(token);
      finish_step(listener);
    }
    return std::move(losses_);
  }

 private:
  static void check(Status status, std::size_t first, std::size_t last) {
    if (status == Status::ok) return;
    const std::string tokens = first == last ? "token " + std::to_string(last)
                                             : "tokens " + std::to_string(first) + " to " +
                                                   std::to_string(last) + " of the prompt";
    throw std::runtime_error(tokens + ": " + std::string(to_string(status)));
  }

  void prefill(std::size_t chunk) {
    for (std::size_t begin = 0; begin < trace_->prompt_length; begin += chunk) {
      const std::size_t count = std::min(chunk, trace_->prompt_length - begin);
      const bool is_last = begin + count == trace_->prompt_length;
      std::vector<float> outputs;
      if (is_last && compare_) {
        see_block(begin, count);
        outputs.resize(count * output_.size());
      }
      check(session_->prefill(trace_->queries_of(begin, count), trace_->keys_of(begin, count),
                              trace_->values_of(begin, count), outputs),
            begin, begin + count - 1);
      if (outputs.empty()) continue;
      std::copy(outputs.end() - static_cast<std::ptrdiff_t>(output_.size()), outputs.end(),
                output_.begin());
      compare(trace_->prompt_length - 1);
    }
  }

  /// The last token of a block sees what the heads hold before it comes, and the block.
  void see_block(std::size_t begin, std::size_t count) {
    for (std::size_t h = 0; h < visible_.size(); ++h) {
      visible_[h] = session_->kept(h / trace_->shape.group());
      for (std::size_t token = begin; token < begin + count; ++token) {
        visible_[h].push_back(static_cast<Position>(token));
      }
    }
  }

  void decode(std::size_t token) {
    check(session_->append(trace_->keys_of(token, 1), trace_->values_of(token, 1),
                           static_cast<Position>(token)),
          token, token);
    if (compare_) {
      for (std::size_t h = 0; h < visible_.size(); ++h) visible_[h] = session_->visible(h);
    }
    check(session_->attend(trace_->queries_of(token, 1), output_), token, token);
    if (compare_) compare(token);
  }

  void compare(std::size_t token) {
    const std::size_t group = trace_->shape.group();
    const std::size_t width = group * trace_->shape.head_dim;
    std::vector<Loss>& losses = losses_.emplace_back();
    for (std::size_t head = 0; head < trace_->shape.kv_heads; ++head) {
      losses.push_back(full_.compare(token, head, std::span(visible_).subspan(head * group, group),
                                     std::span(output_).subspan(head * width, width)));
    }
  }

  void finish_step(const Listener& listener) {
    KeptOfHeads kept;
    for (std::size_t head = 0; head < trace_->shape.kv_heads; ++head) {
      kept.push_back(session_->kept(head));
    }
    listener(step_++, kept);
  }

  const Trace* trace_;
  Session* session_;
  bool compare_;
  FullAttention full_;
  std::vector<float> output_;                   ///< [query_heads][head_dim], of the step
  std::vector<std::vector<Position>> visible_;  ///< of each query head, at the step
  Losses losses_;
  std::size_t step_ = 0;
};

/// The mean of one number over the steps after the prompt and all heads, where it is defined; NaN
/// if it never is.
[[nodiscard]] inline double mean_after_prompt(const Losses& losses, double Loss::*number) {
  double sum = 0;
  double count = 0;
  for (std::size_t step = 1; step < losses.size(); ++step) {
    for (const Loss& loss : losses[step]) {
      if (std::isnan(loss.*number)) continue;
      sum += loss.*number;
      ++count;
    }
  }
  return sum / count;
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_REPLAY_HPP
