// SPDX-License-Identifier: Apache-2.0
/// \file
/// A KVCache and, for each of its heads, an oracle with the full keys and values.
#ifndef MORPHKV_TESTS_SUPPORT_CACHE_DUEL_HPP
#define MORPHKV_TESTS_SUPPORT_CACHE_DUEL_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"
#include "oracle/attention_oracle.hpp"
#include "oracle/eviction_oracle.hpp"
#include "oracle/rope_oracle.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/engine_memory.hpp"
#include "support/errors.hpp"
#include "support/is_near.hpp"
#include "support/pooled_twin.hpp"
#include "support/random.hpp"
#include "support/script.hpp"
#include "support/weights.hpp"

namespace morphkv::testing {

/// The tokens a head of a cache holds, ascending.
template <class Cache>
std::vector<Position> kept(const Cache& cache, std::size_t layer, std::size_t head) {
  return kept(cache.policy(layer, head));
}

/// One number in another type.
template <class To, class From>
std::vector<To> converted(const std::vector<From>& from) {
  std::vector<To> to(from.size());
  const From* number = from.data();
  for (To& result : to) result = static_cast<To>(static_cast<float>(*number++));
  return to;
}

/// Half the distance from 1 to the next number. (Eigen's epsilon of half is not that.)
template <Scalar E>
inline constexpr double unit_roundoff = 0x1p-24;
template <>
inline constexpr double unit_roundoff<Eigen::half> = 0x1p-11;
template <>
inline constexpr double unit_roundoff<Eigen::bfloat16> = 0x1p-8;

/// The heads of a layer, the last first.
struct BackwardsExecutor {
  template <class Body>
  void operator()(std::size_t count, Body&& body) const {
    while (count > 0) body(--count);
  }
};

/// Elements that callers pass, E, are the cache's scalar or float. With twins, a cache over pages
/// of an engine and a sequence of a pool take the same calls on another executor, and not a bit of
/// them may differ.
template <Storable T, class Contender, class E = float, bool has_twins = false>
class CacheDuel {
 public:
  using Policy = typename Contender::Policy;
  using Twin = KVCache<T, Policy, EngineStorage<T>>;

  CacheDuel(const CacheShape& shape, const Setting& setting, std::uint64_t seed)
      : cache_(shape, Contender::options(setting)),
        group_fusion_(setting.group),
        history_(setting.history),
        random_(seed) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const std::size_t window = shape.window(layer);
      // A layer that slides holds the newest tokens, whatever the policy.
      const Head head{window == 0 ? Contender::reference(setting)
                                  : oracle::streaming_llm_oracle(window, 0, false),
                      {shape.head_dim, {}, {}}};
      heads_.insert(heads_.end(), shape.kv_heads, head);
    }
    if constexpr (has_twins) make_twins(setting);
  }

  [[nodiscard]] KVCache<T, Policy>& cache() { return cache_; }
  [[nodiscard]] Random& random() { return random_; }
  /// Rounding decided an eviction otherwise than double: the two have parted, and the match is
  /// over.
  [[nodiscard]] bool over() const { return over_; }

  /// \param spans whose tokens see each other
  void prefill(std::size_t tokens, std::span<const TokenSpan> spans = {}) {
    past_.clear();
    record_past(tokens);
    for (std::size_t layer = 0; layer < shape().layers; ++layer) {
      const Tokens block = draw_tokens(shape(), tokens, random_);
      const auto queries = converted<E>(block.queries);
      const auto keys = converted<E>(block.keys);
      const auto values = converted<E>(block.values);
      std::vector<E> outputs(tokens * shape().output_width());
      const Position first = cache_.next_position(layer);
      const auto call = [&](auto& cache, std::span<E> to, const auto& execute) {
        return spans.empty() ? cache.prefill(layer, queries, keys, values, to, execute)
                             : cache.template prefill_spans<E>(layer, queries, keys, values, to,
                                                               spans, execute);
      };
      ASSERT_EQ(call(cache_, outputs, SerialExecutor{}), Status::ok);
      twins_do(outputs,
               [&](auto& twin, std::span<E> to) { return call(twin, to, BackwardsExecutor{}); });
      for (std::size_t head = 0; head < shape().kv_heads; ++head) {
        follow_block(
            layer, head, first, spans,
            {tokens, converted<float>(queries), converted<float>(keys), converted<float>(values)},
            converted<float>(outputs));
        if (shape().window(layer) > 0) continue;
        if (pins_differ(cache_.policy(layer, head), at(layer, head).oracle)) over_ = true;
      }
    }
    compare();
  }

  void step() {
    record_past(1);
    for (std::size_t layer = 0; layer < shape().layers && !over_; ++layer) {
      const std::vector<float> query = append(layer);
      if (over_) return;
      std::vector<E> output(shape().output_width());
      ASSERT_EQ(cache_.attend(layer, converted<E>(query), output), Status::ok);
      twins_do(output, [&](auto& twin, std::span<E> to) {
        return twin.attend(layer, converted<E>(query), to, BackwardsExecutor{});
      });
      for (std::size_t head = 0; head < shape().kv_heads; ++head) {
        Head& truth = at(layer, head);
        const std::vector<Position> seen = truth.oracle.kept();
        const auto rows = weights(truth, layer, head, query, seen, seen.back());
        check_outputs(truth, head, rows, seen, converted<float>(output));
        truth.oracle.attend(by_position(oracle::fuse(rows, group_fusion_), seen));
      }
    }
    compare();
  }

  /// The engine's own attention: made-up weights.
  void observe(Weights kind) {
    record_past(1);
    for (std::size_t layer = 0; layer < shape().layers && !over_; ++layer) {
      (void)append(layer);
      if (over_) return;
      const std::size_t stride = cache_.size(layer, 0) + 3;
      std::vector<float> weights(shape().query_heads * stride, -1.0F);  // padding is never read
      for (std::size_t head = 0; head < shape().kv_heads; ++head) {
        observe_head(layer, head, kind, weights, stride);
      }
      ASSERT_EQ(cache_.observe(layer, weights, stride), Status::ok);
      twins_do({}, [&](auto& twin, auto) { return twin.observe(layer, weights, stride); });
    }
    compare();
  }

  /// Takes back the newest `count` steps and blocks; more than the history holds must be refused.
  void rollback(std::size_t count) {
    const bool reaches = count <= past_.size();
    std::size_t tokens = reaches ? 0 : 1;
    for (std::size_t i = 0; i < (std::min)(count, past_.size()); ++i) {
      tokens += past_[past_.size() - 1 - i].tokens;
    }
    const Status expected = reaches ? Status::ok : Status::too_far_back;
    ASSERT_EQ(cache_.rollback(tokens), expected);
    twins_do(
        {}, [&](auto& twin, auto) { return twin.rollback(tokens); }, expected);
    for (; reaches && count > 0; --count) {
      heads_ = std::move(past_.back().heads);
      past_.pop_back();
    }
    compare();
  }

  /// Goes on with a copy.
  void fork() {
    KVCache<T, Policy> other(cache_);
    cache_.reset();
    cache_.copy_from(other);
    if constexpr (has_twins) pooled_->fork();
    compare();
  }

  /// Positions without gaps. \param rope how keys are turned, or null
  void renumber(const Rope* rope) {
    const auto call = [&](auto& cache) {
      if constexpr (requires { cache.renumber(*rope); }) {
        if (rope != nullptr) return cache.renumber(*rope);
      }
      return cache.renumber();
    };
    ASSERT_EQ(call(cache_), Status::ok);
    twins_do({}, [&](auto& twin, auto) { return call(twin); });
    past_.clear();
    if (heads_[0].oracle.newest() != no_position) {
      std::size_t positions = 0;
      for (const Head& head : heads_) {
        const std::vector<Position> held = head.oracle.kept();
        const bool holds_newest = !held.empty() && held.back() == head.oracle.newest();
        positions = (std::max)(positions, held.size() + (holds_newest ? 0 : 1));
      }
      ASSERT_EQ(cache_.next_position(0), positions);
      for (std::size_t layer = 0; layer < shape().layers; ++layer) {
        for (std::size_t head = 0; head < shape().kv_heads; ++head) {
          follow_renumbering(layer, head, rope);
        }
      }
    }
    compare();
  }

  /// Goes on with what is restored from the saved cache: into an empty one, and into a twin that
  /// has gone on. Drafts can be taken back as before.
  void save_and_restore() {
    const std::vector<std::byte> saved = cache_.save();
    KVCache<T, Policy> other(cache_);
    other.reset();
    other.restore(saved);
    cache_ = std::move(other);
    ASSERT_EQ(cache_.save(), saved);
    if constexpr (has_twins) {
      const Tokens token = draw_tokens(shape(), 1, random_);
      const Position position = cache_.next_position(0);
      (void)twin_->append(0, token.keys, token.values, position);
      twin_->restore(saved);
      (void)pooled_->sequence().append(0, token.keys, token.values, position);
      pooled_->restore(saved);
    }
    compare();
  }

  /// The same in a cache of another setting, if what must stay fits. No draft can be taken back,
  /// unless all layers slide: the setting changes nothing of such a layer.
  void save_and_restore(const Setting& setting) {
    const CacheShape model = shape();
    const std::vector<std::byte> saved = cache_.save();
    std::vector<Head> heads = heads_;
    bool fits = true;
    for (std::size_t head = 0; head < heads.size(); ++head) {
      if (model.window(head / model.kv_heads) > 0) continue;
      const auto options = Contender::reference(setting).options();
      fits = heads[head].oracle.take_over(options) == Status::ok && fits;
    }
    KVCache<T, Policy> other(model, Contender::options(setting));
    const std::string message = refusal([&] { other.restore(saved); });
    ASSERT_EQ(message == "nothing was thrown", fits) << message;
    if (!fits) return;
    bool is_equal = true;
    for (std::size_t layer = 0; layer < model.layers; ++layer) {
      is_equal = is_equal && (model.window(layer) > 0 || other.options() == cache_.options());
    }
    cache_ = std::move(other);
    heads_ = std::move(heads);
    history_ = setting.history;
    if (!is_equal) past_.clear();
    if constexpr (has_twins) {
      make_twins(setting);
      twin_->restore(saved);
      pooled_->restore(saved);
    }
    compare();
  }

  /// Begins another sequence.
  void reset() {
    cache_.reset();
    if constexpr (has_twins) {
      twin_->reset();
      pooled_->reset();
    }
    for (Head& head : heads_) {
      head = {oracle::EvictionOracle(head.oracle.options()), {shape().head_dim, {}, {}}};
    }
    past_.clear();
    compare();
  }

 private:
  struct Head {
    oracle::EvictionOracle oracle;
    oracle::Sequence sequence;
  };
  /// The oracles before a step or a block.
  struct Past {
    std::size_t tokens;
    std::vector<Head> heads;
  };

  /// Empty ones, of the cache's shape.
  void make_twins(const Setting& setting) {
    std::vector<std::size_t> slots;
    for (std::size_t layer = 0; layer < shape().layers; ++layer) {
      slots.push_back(cache_.policy(layer, 0).slots());
    }
    const std::size_t most = *std::max_element(slots.begin(), slots.end());
    pooled_.reset();
    twin_.reset();
    memory_.emplace(shape(), most, MemoryKind{"pages", HeadOrder::hnd, 7});
    twin_.emplace(shape(), Contender::options(setting), memory_->storage());
    pooled_.emplace(shape(), Contender::options(setting), slots, random_.below(1'000'000));
  }

  /// A step or a block comes. The history holds whole ones, of so many tokens at most.
  void record_past(std::size_t tokens) {
    if (tokens > history_) return past_.clear();
    past_.push_back({tokens, heads_});
    const auto held = [&] {
      return std::accumulate(past_.begin(), past_.end(), std::size_t{0},
                             [](std::size_t sum, const Past& past) { return sum + past.tokens; });
    };
    while (held() > history_) past_.erase(past_.begin());
  }

  [[nodiscard]] const CacheShape& shape() const { return cache_.shape(); }
  [[nodiscard]] Head& at(std::size_t layer, std::size_t head) {
    return heads_[layer * shape().kv_heads + head];
  }

  /// What the cache stores of it.
  [[nodiscard]] static std::vector<double> stored(std::span<const float> row, float scale) {
    std::vector<T> elements(row_size<T>(row.size()));
    if constexpr (Scalar<T>) {
      for (std::size_t d = 0; d < row.size(); ++d) elements[d] = static_cast<T>(row[d] / scale);
    } else {
      kernels::convert(row.data(), row.size(), elements.data());  // tested on its own
    }
    return numbers(elements, row.size(), scale);
  }
  [[nodiscard]] static std::vector<double> numbers(std::span<const T> row, std::size_t dim,
                                                   float scale) {
    std::vector<double> result(dim);
    double* to = result.data();
    for (std::size_t d = 0; d < dim; ++d) to[d] = double{number_at(row.data(), d) * scale};
    return result;
  }

  /// The token's key and value in a head, out of those of all heads.
  void remember(std::size_t layer, std::size_t head, Position position, std::span<const float> keys,
                std::span<const float> values) {
    Head& truth = at(layer, head);
    truth.sequence.keys.resize(static_cast<std::size_t>(position));
    truth.sequence.values.resize(static_cast<std::size_t>(position));
    truth.sequence.keys.push_back(
        stored(of_head(keys, head, shape().head_dim), shape().key_scale(layer, head)));
    truth.sequence.values.push_back(shape().values_in_keys
                                        ? truth.sequence.keys.back()
                                        : stored(of_head(values, head, shape().output_dim()),
                                                 shape().value_scale(layer, head)));
    truth.sequence.values.back().resize(shape().output_dim());
  }

  /// Appends a random token to the cache and the oracles, which may part here. \return its query
  std::vector<float> append(std::size_t layer) {
    const Tokens token = draw_tokens(shape(), 1, random_);
    const auto key = converted<E>(token.keys);
    const auto value = converted<E>(token.values);
    const Position position = cache_.next_position(layer);
    EXPECT_EQ(cache_.append(layer, key, value, position), Status::ok);
    twins_do({}, [&](auto& twin, auto) { return twin.append(layer, key, value, position); });
    const std::vector<float> keys = converted<float>(key);
    const std::vector<float> values = converted<float>(value);
    for (std::size_t head = 0; head < shape().kv_heads; ++head) {
      Head& truth = at(layer, head);
      EXPECT_EQ(truth.oracle.arrive(position), Status::ok);
      remember(layer, head, position, keys, values);
      if (!over_) compare_kept(layer, head);
    }
    return converted<float>(converted<E>(token.queries));
  }

  [[nodiscard]] static std::span<const float> of_head(std::span<const float> row, std::size_t head,
                                                      std::size_t dim) {
    return row.subspan(head * dim, dim);
  }

  /// [query head of the group][seen]
  [[nodiscard]] std::vector<std::vector<double>> weights(const Head& truth, std::size_t layer,
                                                         std::size_t head,
                                                         std::span<const float> query,
                                                         std::span<const Position> seen,
                                                         Position position) const {
    std::vector<std::vector<double>> rows;
    for (std::size_t g = 0; g < shape().group(); ++g) {
      const auto of_query = of_head(query, head * shape().group() + g, shape().head_dim);
      rows.push_back(oracle::weights_over(of_query, truth.sequence, seen,
                                          shape().logits(layer, head), g, position));
    }
    return rows;
  }

  [[nodiscard]] static oracle::Row by_position(const std::vector<double>& fused,
                                               std::span<const Position> seen) {
    oracle::Row row(static_cast<std::size_t>(seen.back()) + 1, 0.0);
    for (std::size_t s = 0; s < seen.size(); ++s) row[static_cast<std::size_t>(seen[s])] = fused[s];
    return row;
  }

  /// What token `t` of a block sees of the tokens held and of the block, ascending: itself and the
  /// newest before it, and the tokens of its span.
  [[nodiscard]] static std::vector<Position> seen_by(std::size_t t, std::vector<Position> seen,
                                                     Position first, std::size_t window,
                                                     std::span<const TokenSpan> spans) {
    for (std::size_t i = 0; i <= t; ++i) seen.push_back(first + static_cast<Position>(i));
    if (window > 0 && seen.size() > window) {
      seen.erase(seen.begin(), seen.end() - static_cast<std::ptrdiff_t>(window));
    }
    const Position oldest = seen.front();
    for (const TokenSpan& span : spans) {
      if (t < span.begin || t >= span.end) continue;
      for (std::size_t i = span.begin; i < span.end; ++i) {
        const Position position = first + static_cast<Position>(i);
        if (i > t || position < oldest) seen.push_back(position);
      }
    }
    std::sort(seen.begin(), seen.end());
    return seen;
  }

  void follow_block(std::size_t layer, std::size_t head, Position first,
                    std::span<const TokenSpan> spans, const Tokens& block,
                    const std::vector<float>& outputs) {
    Head& truth = at(layer, head);
    const std::vector<Position> held = truth.oracle.kept();
    const auto of_token = [&](std::size_t t, const std::vector<float>& all) {
      const std::size_t width = all.size() / block.count;
      return std::span<const float>(all).subspan(t * width, width);
    };
    for (std::size_t t = 0; t < block.count; ++t) {
      remember(layer, head, first + static_cast<Position>(t), of_token(t, block.keys),
               of_token(t, block.values));
    }
    std::vector<oracle::Row> rows;
    for (std::size_t t = 0; t < block.count; ++t) {
      const auto seen = seen_by(t, held, first, shape().window(layer), spans);
      const auto row = weights(truth, layer, head, of_token(t, block.queries), seen,
                               first + static_cast<Position>(t));
      check_outputs(truth, head, row, seen, of_token(t, outputs));
      rows.push_back(by_position(oracle::fuse(row, group_fusion_), seen));
      // Tokens after it in its span score nothing by it.
      rows.back().resize(static_cast<std::size_t>(first) + t + 1);
    }
    const auto norm = [&](Position position) {
      double squares = 0;
      for (const double x : truth.sequence.values[static_cast<std::size_t>(position)]) {
        squares += x * x;
      }
      return std::sqrt(squares);
    };
    ASSERT_EQ(truth.oracle.block(first, rows, norm), Status::ok);
  }

  /// The oracle gets the positions that the cache has now. Keys that moved are turned in double;
  /// the cache may round them once more, and from then on they are those that it stores.
  void follow_renumbering(std::size_t layer, std::size_t head, const Rope* rope) {
    Head& truth = at(layer, head);
    const std::vector<Position> before = truth.oracle.kept();
    truth.oracle.renumber(cache_.next_position(layer) - 1);
    const std::vector<Position> after = truth.oracle.kept();
    const oracle::Sequence old = std::exchange(truth.sequence, {shape().head_dim, {}, {}});
    truth.sequence.keys.resize(static_cast<std::size_t>(cache_.next_position(layer)));
    truth.sequence.values.resize(truth.sequence.keys.size());
    for (std::size_t i = 0; i < before.size(); ++i) {
      const auto from = static_cast<std::size_t>(before[i]);
      const auto to = static_cast<std::size_t>(after[i]);
      truth.sequence.keys[to] = old.keys[from];
      truth.sequence.values[to] = old.values[from];
      if (rope == nullptr || from == to) continue;
      const auto turned = oracle::rotated(old.keys[from], *rope, after[i] - before[i]);
      std::vector<double>& key = truth.sequence.keys[to];
      key = stored_key(layer, head, after[i]);
      ASSERT_EQ(key.size(), turned.size()) << "no key of " << after[i];
      for (std::size_t d = 0; d < key.size(); ++d) {
        ASSERT_NEAR(key[d], turned[d], turning_error(old.keys[from][d], turned[d]));
      }
      if (shape().values_in_keys)
        std::copy_n(key.begin(), shape().output_dim(), truth.sequence.values[to].begin());
    }
  }
  /// A key is computed in double, rounded to float and then to T: half a unit of each.
  [[nodiscard]] static double turning_error(double before, double after) {
    if (before == after) return 0;
    constexpr double denormal = std::same_as<T, Eigen::half> ? 0x1p-25 : 1e-14;
    if constexpr (Scalar<T>) return 1.01 * unit_roundoff<T> * std::abs(after) + denormal;
    return 0;
  }
  /// Empty if the head does not hold the position.
  [[nodiscard]] std::vector<double> stored_key(std::size_t layer, std::size_t head,
                                               Position position) const {
    const auto positions = cache_.positions(layer, head);
    const auto found = std::find(positions.begin(), positions.end(), position);
    if (found == positions.end()) return {};
    return numbers(cache_.key(layer, head, static_cast<std::size_t>(found - positions.begin())),
                   shape().head_dim, shape().key_scale(layer, head));
  }

  void check_outputs(const Head& truth, std::size_t head,
                     const std::vector<std::vector<double>>& rows, std::span<const Position> seen,
                     std::span<const float> outputs) {
    for (std::size_t g = 0; g < rows.size(); ++g) {
      const auto expected = oracle::weighted_values(rows[g], truth.sequence, seen);
      const auto magnitudes = oracle::weighted_magnitudes(rows[g], truth.sequence, seen);
      const auto given = of_head(outputs, head * shape().group() + g, shape().output_dim());
      for (std::size_t d = 0; d < given.size(); ++d) {
        if (is_near(double{given[d]}, expected[d], tolerance(expected[d], magnitudes[d]))) continue;
        ASSERT_NEAR(double{given[d]}, expected[d], tolerance(expected[d], magnitudes[d]))
            << "dimension " << d;
      }
    }
  }

  /// Arithmetic is in float. Logits reach about 20 here, so a weight is good to some 20 x 2^-24 x
  /// the root of head_dim. Kernels for bfloat16 may round a weight to bfloat16 (2^-8) and the query
  /// to two of them (2^-17). Those for quantised numbers round a query by 2^-16 of its greatest
  /// number, about 6, in each of head_dim products; and up to 64 weights, times the greatest of 32
  /// numbers of their values, about 5, by 2^-16 of the greatest such product, also where these
  /// numbers are 0 in the dimension that is looked at. The output is then rounded to E.
  [[nodiscard]] static double tolerance(double output, double magnitude) {
    constexpr double weight = std::same_as<T, Eigen::bfloat16> ? 0x1p-8 + 0x1p-11
                              : Quantised<T>                   ? 2e-3
                                                               : 2e-5;
    constexpr double any = Quantised<T> ? 4e-4 : 1e-5;
    return any + weight * magnitude + unit_roundoff<E> * std::abs(output);
  }

  void observe_head(std::size_t layer, std::size_t head, Weights kind, std::vector<float>& weights,
                    std::size_t stride) {
    Head& truth = at(layer, head);
    const std::vector<Position> seen = truth.oracle.kept();
    const std::span<const Position> slots = cache_.positions(layer, head);
    std::vector<std::vector<double>> rows;
    for (std::size_t g = 0; g < shape().group(); ++g) {
      const oracle::Row row = draw_row(kind, seen, random_);
      const std::vector<float> ordered = in_slot_order(row, slots);
      std::copy(
          ordered.begin(), ordered.end(),
          weights.begin() + static_cast<std::ptrdiff_t>((head * shape().group() + g) * stride));
      rows.push_back(row);
    }
    oracle::Row fused = oracle::fuse(rows, group_fusion_);
    for (double& weight : fused) weight = static_cast<double>(static_cast<float>(weight));
    truth.oracle.attend(fused);
  }

  /// The twins take the same call: call(twin, its output).
  template <class Call>
  void twins_do(const std::vector<E>& output, const Call& call, Status expected = Status::ok) {
    if constexpr (has_twins) {
      const auto check = [&](const auto& call_one) {
        std::vector<E> same(output.size());
        ASSERT_EQ(call_one(std::span<E>(same)), expected);
        if (output.empty()) return;
        ASSERT_EQ(std::memcmp(same.data(), output.data(), output.size() * sizeof(E)), 0);
      };
      check([&](std::span<E> to) { return call(*twin_, to); });
      check([&](std::span<E> to) {
        return pooled_->call([&](auto& sequence) { return call(sequence, to); });
      });
    }
  }

  void compare() {
    if constexpr (has_twins) {
      const std::vector<std::byte> saved = cache_.save();
      ASSERT_EQ(twin_->save(), saved);
      ASSERT_EQ(pooled_->sequence().save(), saved);
      pooled_->expect_consistent();
    }
    for (std::size_t layer = 0; layer < shape().layers && !over_; ++layer) {
      for (std::size_t head = 0; head < shape().kv_heads && !over_; ++head) {
        compare_kept(layer, head);
        compare_stored(layer, head);
      }
    }
  }

  void compare_kept(std::size_t layer, std::size_t head) {
    const oracle::EvictionOracle& truth = at(layer, head).oracle;
    const std::vector<Position> held = kept(cache_, layer, head);
    // A window's weights have 11 bits, so float and double may round one of them apart. See
    // tolerance() for those of quantised keys.
    constexpr double near_tie = Quantised<T> ? 0x1p-7 : 0x1p-9;
    if (held != truth.kept() && held.size() == truth.kept().size() &&
        (truth.margin() < near_tie || truth.is_below_units()) && shape().window(layer) == 0) {
      over_ = true;
      return;
    }
    ASSERT_EQ(held, truth.kept()) << "layer " << layer << ", head " << head << ", next "
                                  << cache_.next_position(layer);
  }

  void compare_stored(std::size_t layer, std::size_t head) {
    const std::span<const Position> positions = cache_.positions(layer, head);
    const oracle::Sequence& sequence = at(layer, head).sequence;
    for (std::size_t slot = 0; slot < positions.size(); ++slot) {
      if (positions[slot] == no_position) continue;
      const auto position = static_cast<std::size_t>(positions[slot]);
      ASSERT_EQ(
          numbers(cache_.key(layer, head, slot), shape().head_dim, shape().key_scale(layer, head)),
          sequence.keys[position])
          << "the key of " << position;
      ASSERT_EQ(numbers(cache_.value(layer, head, slot), shape().output_dim(),
                        shape().value_scale(layer, head)),
                sequence.values[position])
          << "the value of " << position;
    }
  }

  KVCache<T, Policy> cache_;
  std::optional<EngineMemory<T>> memory_;  ///< of the twin
  std::optional<Twin> twin_;
  std::optional<PooledTwin<T, Policy>> pooled_;
  GroupFusion group_fusion_;
  std::size_t history_;
  std::vector<Head> heads_;  ///< [layers][kv_heads]
  std::vector<Past> past_;   ///< what the history holds, since the newest block
  Random random_;
  bool over_ = false;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_CACHE_DUEL_HPP
