// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys, values and attention for MorphKVCompat: each query head has a mask of its own, which no
/// policy of the library has.
#ifndef MORPHKV_TOOLS_REPLAY_COMPAT_SESSION_HPP
#define MORPHKV_TOOLS_REPLAY_COMPAT_SESSION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "replay/morphkv_compat.hpp"
#include "replay/session.hpp"

namespace morphkv::replay {

/// One layer under MorphKVCompat, in plain loops.
template <Scalar T>
class CompatSession : public Session {
 public:
  /// \throws std::invalid_argument if the options do not fit.
  CompatSession(const CacheShape& shape, const MorphKVCompat::Options& options,
                nlohmann::ordered_json description)
      : shape_(shape), options_(options), description_(std::move(description)) {
    for (std::size_t head = 0; head < shape.kv_heads; ++head) heads_.emplace_back(shape, options);
  }

  Status prefill(std::span<const float> queries, std::span<const float> keys,
                 std::span<const float> values, std::span<float> outputs) override {
    const std::size_t tokens = keys.size() / (shape_.kv_heads * shape_.head_dim);
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      Head& head = heads_[h];
      const Position first = head.policy.newest() + 1;
      std::vector<Slot> slots(tokens);
      const Status status = head.policy.append_block(first, slots);
      if (status != Status::ok) return status;
      for (std::size_t t = 0; t < tokens; ++t) write(h, slots[t], row(keys, t), row(values, t));
      const std::size_t scoring = head.policy.scoring_queries(tokens);
      for (std::size_t t = 0; t < tokens; ++t) {
        const bool is_scoring = t + scoring >= tokens;
        if (outputs.empty() && !is_scoring) continue;
        const std::size_t width = queries.size() / tokens;
        find_logits(h, queries.subspan(t * width, width));
        mask_after(head, first + static_cast<Position>(t));
        if (is_scoring) head.policy.observe_query(head.logits_in_use(shape_.group()));
        if (outputs.empty()) continue;
        const auto all = [](std::size_t, std::size_t) { return true; };
        if (!attend_head(h, all, outputs.subspan(t * width, width))) return Status::bad_row;
      }
    }
    return Status::ok;
  }

  Status append(std::span<const float> key, std::span<const float> value,
                Position position) override {
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      const Placement placement = heads_[h].policy.place(position);
      if (placement.status != Status::ok) return placement.status;
      write(h, placement.slot, key, value);
    }
    return Status::ok;
  }

  Status attend(std::span<const float> query, std::span<float> output) override {
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      find_logits(h, query);
      const auto is_visible = [&](std::size_t g, std::size_t slot) {
        return heads_[h].policy.visible(g)[slot] != 0;
      };
      if (!attend_head(h, is_visible, output)) return Status::bad_row;
    }
    for (Head& head : heads_) {
      const Status status = head.policy.observe(head.logits_in_use(shape_.group()));
      if (status != Status::ok) return status;
    }
    return Status::ok;
  }

  [[nodiscard]] std::vector<Position> kept(std::size_t head) const override {
    return ascending(heads_[head].policy.positions(), [](std::size_t) { return true; });
  }
  [[nodiscard]] std::vector<Position> visible(std::size_t query_head) const override {
    const MorphKVCompat& policy = heads_[query_head / shape_.group()].policy;
    const auto seen = policy.visible(query_head % shape_.group());
    return ascending(policy.positions(), [&](std::size_t slot) { return seen[slot] != 0; });
  }
  /// M, and the current token.
  [[nodiscard]] std::size_t capacity(std::size_t) const override { return options_.capacity + 1; }
  [[nodiscard]] MemoryUsage memory() const override {
    MemoryUsage usage;
    for (const Head& head : heads_) {
      usage += head.policy.memory();
      usage += {.keys = head.keys.bytes(),
                .values = head.values.bytes(),
                .scratch = head.query.bytes() + head.output.bytes() + head.logits.bytes() +
                           head.weights.bytes()};
    }
    return usage;
  }
  [[nodiscard]] nlohmann::ordered_json description() const override { return description_; }

 private:
  struct Head {
    Head(const CacheShape& shape, const MorphKVCompat::Options& options)
        : policy(options, shape.group()),
          keys(aligned_stride<T>(policy.slots() * shape.head_dim)),
          values(keys.size()),
          query(aligned_stride<float>(shape.group() * shape.head_dim)),
          output(query.size()),
          logits(shape.group() * aligned_stride<float>(policy.slots())),
          weights(logits.size()) {}

    [[nodiscard]] std::span<float> logits_in_use(std::size_t group) {
      return logits.span().first(group * policy.size());
    }

    MorphKVCompat policy;
    AlignedBuffer<T> keys;  ///< [slots][head_dim]
    AlignedBuffer<T> values;
    AlignedBuffer<float> query;
    AlignedBuffer<float> output;
    AlignedBuffer<float> logits;   ///< [group][size]
    AlignedBuffer<float> weights;  ///< [size], of one query head
  };

  /// The keys or values of a block's token `token`, all heads.
  [[nodiscard]] std::span<const float> row(std::span<const float> block, std::size_t token) const {
    const std::size_t width = shape_.kv_heads * shape_.head_dim;
    return block.subspan(token * width, width);
  }

  void write(std::size_t h, Slot slot, std::span<const float> key, std::span<const float> value) {
    const std::size_t dim = shape_.head_dim;
    for (std::size_t d = 0; d < dim; ++d) {
      heads_[h].keys[slot * dim + d] = static_cast<T>(key[h * dim + d]);
      heads_[h].values[slot * dim + d] = static_cast<T>(value[h * dim + d]);
    }
  }

  /// Sixteen partial sums, which compilers turn into vectors.
  [[nodiscard]] static float dot(const float* a, const T* b, std::size_t size) {
    constexpr std::size_t lanes = 16;
    float partial[lanes] = {};
    std::size_t i = 0;
    for (; i + lanes <= size; i += lanes) {
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        partial[lane] += a[i + lane] * static_cast<float>(b[i + lane]);
      }
    }
    for (std::size_t lane = 0; i < size; ++i, ++lane)
      partial[lane] += a[i] * static_cast<float>(b[i]);
    for (std::size_t half = lanes / 2; half > 0; half /= 2) {
      for (std::size_t lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
    }
    return partial[0];
  }

  /// logits[g][slot] of one token's queries, over all slots in use.
  void find_logits(std::size_t h, std::span<const float> query) {
    Head& head = heads_[h];
    const std::size_t dim = shape_.head_dim;
    const std::size_t width = shape_.group() * dim;
    const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
    std::copy_n(query.begin() + static_cast<std::ptrdiff_t>(h * width), width, head.query.data());
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      for (std::size_t slot = 0; slot < head.policy.size(); ++slot) {
        head.logits[g * head.policy.size() + slot] =
            scale * dot(head.query.data() + g * dim, head.keys.data() + slot * dim, dim);
      }
    }
  }

  /// A query of a block sees neither the tokens after it nor free slots.
  void mask_after(Head& head, Position newest) {
    const auto positions = head.policy.positions();
    for (std::size_t i = 0; i < shape_.group() * positions.size(); ++i) {
      const Position position = positions[i % positions.size()];
      if (position == no_position || position > newest) {
        head.logits[i] = -std::numeric_limits<float>::infinity();
      }
    }
  }

  /// Softmax over the slots that are visible, and the weighted values.
  /// \return whether all weights are finite
  bool attend_head(std::size_t h, const auto& is_visible, std::span<float> outputs) {
    Head& head = heads_[h];
    const std::size_t dim = shape_.head_dim;
    const std::size_t slots = head.policy.size();
    std::fill_n(head.output.data(), shape_.group() * dim, 0.0F);
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      float greatest = -std::numeric_limits<float>::infinity();
      for (std::size_t s = 0; s < slots; ++s) {
        head.weights[s] =
            is_visible(g, s) ? head.logits[g * slots + s] : -std::numeric_limits<float>::infinity();
        greatest = std::max(greatest, head.weights[s]);
      }
      float sum = 0;
      for (std::size_t s = 0; s < slots; ++s) {
        sum += head.weights[s] = std::exp(head.weights[s] - greatest);
      }
      if (!std::isfinite(sum)) return false;
      for (std::size_t s = 0; s < slots; ++s) {
        const float weight = head.weights[s] / sum;
        for (std::size_t d = 0; d < dim; ++d) {
          head.output[g * dim + d] += weight * static_cast<float>(head.values[s * dim + d]);
        }
      }
    }
    const std::size_t width = shape_.group() * dim;
    std::copy_n(head.output.data(), width,
                outputs.begin() + static_cast<std::ptrdiff_t>(h * width));
    return true;
  }

  CacheShape shape_;
  MorphKVCompat::Options options_;
  nlohmann::ordered_json description_;
  std::vector<Head> heads_;
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_COMPAT_SESSION_HPP
