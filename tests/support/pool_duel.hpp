// SPDX-License-Identifier: Apache-2.0
/// \file
/// A pool of sequences beside caches that own their memory, one per sequence, and a model of the
/// pages: both must show the same after every call.
#ifndef MORPHKV_TESTS_SUPPORT_POOL_DUEL_HPP
#define MORPHKV_TESTS_SUPPORT_POOL_DUEL_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "support/page_model.hpp"
#include "support/random.hpp"
#include "support/script.hpp"

namespace morphkv::testing {

/// Where a step finds no page, another sequence is released and the step is repeated.
template <class T, class Contender>
class PoolDuel {
 public:
  using Policy = typename Contender::Policy;
  using Pool = SequencePool<T, Policy>;
  using Alone = KVCache<T, Policy>;
  using Id = typename Pool::Id;

  struct Events {
    std::size_t refusals = 0;  ///< steps that found no page
    std::size_t copies = 0;    ///< of shared pages
    std::size_t blocks = 0;    ///< that were read with others in one call
    std::size_t rollbacks = 0;
    std::size_t most_sequences = 0;
  };

  PoolDuel(const CacheShape& shape, std::size_t pages, std::size_t page_size, HeadOrder order,
           std::uint64_t seed)
      : shape_(shape),
        memory_(pages * Pool::page_elements(shape, page_size)),
        pool_(shape, memory_, page_size, order),
        random_(seed) {}

  void create(const typename Policy::Options& options, const Budget& budget) {
    const std::size_t free = pool_.free_pages();
    const Id id = pool_.create(options, budget);
    ASSERT_EQ(pool_.free_pages(), free);
    twins_.emplace(id, Twin{Alone(shape_, options, budget), ++seeds_});
    events_.most_sequences = std::max(events_.most_sequences, twins_.size());
  }
  void fork(Id origin) {
    const std::size_t free = pool_.free_pages();
    const Id id = pool_.fork(origin);
    ASSERT_EQ(pool_.free_pages(), free) << "a fork takes no page";
    twins_.emplace(id, Twin{twins_.at(origin).alone, ++seeds_});
    events_.most_sequences = std::max(events_.most_sequences, twins_.size());
  }
  void release(Id id) {
    pool_.release(id);
    twins_.erase(id);
  }
  void reset(Id id) {
    pool_[id].reset();
    twins_.at(id).alone.reset();
  }
  void rollback(Id id, std::size_t tokens) {
    Alone& alone = twins_.at(id).alone;
    const PageModel<Pool> pages = model();
    const Status status = pool_[id].rollback(tokens);
    if (status == Status::no_memory) {
      bool shares = false;
      for (std::size_t layer = 0; layer < shape_.layers; ++layer) shares |= pages.shares(id, layer);
      ASSERT_TRUE(shares) << "a rollback needs no page but for copies";
      expect_as_alone(id);
      ASSERT_EQ(model().owners(), pages.owners());
      ++events_.refusals;
      return;
    }
    ASSERT_EQ(status, alone.rollback(tokens));
    if (status == Status::ok) ++events_.rollbacks;
  }

  /// The next token of some sequences, in all layers.
  template <class Execute>
  void step(const std::vector<Id>& ids, bool attends, const Execute& execute) {
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      step_layer(layer, still_there(ids), attends, execute);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  /// A block of every sequence, of any lengths.
  template <class Execute>
  void prefill(const std::vector<Id>& ids, const std::vector<std::size_t>& lengths,
               const Execute& execute) {
    std::map<Id, std::size_t> length_of;
    for (std::size_t i = 0; i < ids.size(); ++i) length_of[ids[i]] = lengths[i];
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      prefill_layer(layer, still_there(ids), length_of, execute);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  void compare() {
    for (const auto& [id, twin] : twins_) {
      ASSERT_TRUE(pool_.is_taken(id));
      expect_as_alone(id);
    }
    model().expect_consistent(pool_);
    const std::size_t used = pool_.pages() - pool_.free_pages();
    const MemoryUsage memory = pool_.memory();
    ASSERT_EQ(memory.keys + memory.values, used * pool_.layout().elements() * sizeof(T));
  }
  void end() {
    for (const Id id : ids()) release(id);
    ASSERT_EQ(pool_.free_pages(), pool_.pages());
  }

  [[nodiscard]] std::vector<Id> ids() const {
    std::vector<Id> ids;
    for (const auto& [id, twin] : twins_) ids.push_back(id);
    return ids;
  }
  [[nodiscard]] const Events& events() const { return events_; }
  [[nodiscard]] const Pool& pool() const { return pool_; }

 private:
  struct Twin {
    Alone alone;
    std::uint64_t seed;  ///< of its tokens
  };
  /// Tokens of some sequences side by side.
  struct Batch {
    std::vector<std::int32_t> indptr{0};
    Tokens tokens{};
    void add(const Tokens& more) {
      indptr.push_back(indptr.back() + static_cast<std::int32_t>(more.count));
      tokens.count += more.count;
      tokens.queries.insert(tokens.queries.end(), more.queries.begin(), more.queries.end());
      tokens.keys.insert(tokens.keys.end(), more.keys.begin(), more.keys.end());
      tokens.values.insert(tokens.values.end(), more.values.begin(), more.values.end());
    }
  };

  /// Also after a refused call, in which the cache alone has not taken part: it changes nothing.
  void expect_as_alone(Id id) const {
    ASSERT_EQ(pool_[id].save(), twins_.at(id).alone.save()) << "sequence " << id;
  }
  [[nodiscard]] PageModel<Pool> model() const { return {pool_, ids(), shape_.layers}; }
  [[nodiscard]] std::vector<Id> still_there(std::vector<Id> ids) const {
    std::erase_if(ids, [&](Id id) { return !twins_.contains(id); });
    return ids;
  }

  /// Whether a token that is appended now may be refused though pages would suffice: the last one
  /// was not attended, and pages are shared.
  [[nodiscard]] bool slot_is_unknown(const PageModel<Pool>& pages, Id id, std::size_t layer) const {
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status waits = twins_.at(id).alone.policy(layer, head).can_observe();
      if (waits == Status::ok && pages.shares(id, layer)) return true;
    }
    return false;
  }

  template <class Execute>
  void step_layer(std::size_t layer, const std::vector<Id>& ids, bool attends,
                  const Execute& execute) {
    const std::size_t heads = shape_.kv_heads;
    Batch batch;
    PageModel<Pool> pages = model();
    bool is_exact = true;
    std::vector<Alone> trials;
    std::vector<Status> expected;
    std::vector<Placement> expected_placements(ids.size() * heads);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      Alone& trial = trials.emplace_back(twins_.at(ids[i]).alone);
      const Position position = trial.next_position(layer);
      const Tokens token = Script(twins_.at(ids[i]).seed).at(shape_, layer, position);
      batch.add(token);
      const std::span placed = std::span(expected_placements).subspan(i * heads, heads);
      expected.push_back(trial.append(layer, token.keys, token.values, position, placed));
      std::vector<Slot> slots;
      for (const Placement& placement : placed) slots.push_back(placement.slot);
      if (expected[i] == Status::ok && !pages.write(ids[i], layer, slots)) {
        expected[i] = Status::no_memory;
      }
    }
    std::vector<Status> statuses(ids.size(), Status::too_far_back);
    std::vector<Placement> placements(ids.size() * heads);
    (void)pool_.append(layer, std::span<const Id>(ids), batch.tokens.keys, batch.tokens.values,
                       statuses, placements);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] != expected[i]) {  // a refusal leaves pages to those after it
        ASSERT_TRUE(statuses[i] == Status::no_memory || expected[i] == Status::no_memory);
        ASSERT_TRUE(!is_exact ||
                    (statuses[i] == Status::no_memory && slot_is_unknown(pages, ids[i], layer)));
        is_exact = false;
      }
      if (statuses[i] != Status::ok) {
        expect_as_alone(ids[i]);
        continue;
      }
      twins_.at(ids[i]).alone = trials[i];
      for (std::size_t head = i * heads; head < (i + 1) * heads; ++head) {
        ASSERT_EQ(placements[head].slot, expected_placements[head].slot);
        ASSERT_EQ(placements[head].evicted, expected_placements[head].evicted);
      }
    }
    if (is_exact) {
      ASSERT_EQ(model().owners(), pages.owners());
      ASSERT_EQ(pool_.free_pages(), pages.free());
      events_.copies += pages.copies();
    }
    if (attends) attend_layer(layer, ids, batch, statuses, execute);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] == Status::ok) continue;
      if (!make_room(ids[i], statuses[i])) continue;
      step_layer(layer, {ids[i]}, attends, execute);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  template <class Execute>
  void attend_layer(std::size_t layer, const std::vector<Id>& ids, const Batch& batch,
                    std::vector<Status> statuses, const Execute& execute) {
    const std::vector<Status> appended = statuses;
    const std::size_t width = shape_.output_width();
    std::vector<float> outputs(ids.size() * width);
    std::vector<float> expected(ids.size() * width);
    (void)pool_.attend(layer, std::span<const Id>(ids), batch.tokens.queries, outputs,
                       std::span(statuses), execute);
    ASSERT_EQ(statuses, appended);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] != Status::ok) continue;
      const std::span query =
          std::span(batch.tokens.queries).subspan(i * shape_.query_width(), shape_.query_width());
      ASSERT_EQ(twins_.at(ids[i]).alone.attend(layer, query,
                                               std::span(expected).subspan(i * width, width)),
                Status::ok);
    }
    ASSERT_EQ(outputs, expected);
  }

  template <class Execute>
  void prefill_layer(std::size_t layer, const std::vector<Id>& ids,
                     const std::map<Id, std::size_t>& length_of, const Execute& execute) {
    const std::size_t width = shape_.output_width();
    Batch batch;
    PageModel<Pool> pages = model();
    std::vector<Alone> trials;
    std::vector<Status> expected;
    std::vector<float> expected_outputs;
    for (const Id id : ids) {
      Alone& trial = trials.emplace_back(twins_.at(id).alone);
      const Position first = trial.next_position(layer);
      const std::size_t length = length_of.at(id);
      const Tokens block = Script(twins_.at(id).seed).at(shape_, layer, first, length);
      batch.add(block);
      std::vector<float> output(length * width);
      Status status =
          trial.prefill(layer, block.queries, block.keys, block.values, std::span<float>(output));
      if (status == Status::ok && !pages.write(id, layer, slots_from(trial, layer, first))) {
        status = Status::no_memory;
      }
      expected.push_back(status);
      expected_outputs.insert(expected_outputs.end(), output.begin(), output.end());
    }
    std::vector<float> outputs(expected_outputs.size());
    std::vector<Status> statuses(ids.size(), Status::too_far_back);
    const Tokens& tokens = batch.tokens;
    (void)pool_.prefill(layer, std::span<const Id>(ids),
                        std::span<const std::int32_t>(batch.indptr), tokens.queries, tokens.keys,
                        tokens.values, outputs, std::span(statuses), execute);
    ASSERT_EQ(statuses, expected);
    ASSERT_EQ(model().owners(), pages.owners());
    ASSERT_EQ(pool_.free_pages(), pages.free());
    events_.copies += pages.copies();
    events_.blocks += ids.size() > 1 ? ids.size() : 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] != Status::ok) {
        expect_as_alone(ids[i]);
        continue;
      }
      twins_.at(ids[i]).alone = trials[i];
      const auto begin =
          static_cast<std::ptrdiff_t>(batch.indptr[i]) * static_cast<std::ptrdiff_t>(width);
      const auto end =
          static_cast<std::ptrdiff_t>(batch.indptr[i + 1]) * static_cast<std::ptrdiff_t>(width);
      ASSERT_TRUE(std::equal(outputs.begin() + begin, outputs.begin() + end,
                             expected_outputs.begin() + begin));
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] == Status::ok) continue;
      if (!make_room(ids[i], statuses[i])) continue;
      prefill_layer(layer, {ids[i]}, length_of, execute);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  /// The slots of all heads of a layer whose tokens have positions from `first` on.
  [[nodiscard]] std::vector<Slot> slots_from(const Alone& cache, std::size_t layer,
                                             Position first) const {
    std::vector<Slot> slots;
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const auto positions = cache.positions(layer, head);
      for (Slot slot = 0; slot < positions.size(); ++slot) {
        if (positions[slot] >= first) slots.push_back(slot);
      }
    }
    return slots;
  }

  /// After a refusal. \return whether the sequence is still there, and its step is to be repeated
  bool make_room(Id id, Status status) {
    if (!twins_.contains(id)) return false;
    std::vector<Id> others = ids();
    std::erase(others, id);
    if (status != Status::no_memory || others.empty()) {
      release(id);  // it is full, or larger than the pool
      return false;
    }
    ++events_.refusals;
    release(others[random_.below(others.size())]);
    return true;
  }

  CacheShape shape_;
  std::vector<T> memory_;
  Pool pool_;
  std::map<Id, Twin> twins_;
  std::uint64_t seeds_ = 0;
  Random random_;
  Events events_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_POOL_DUEL_HPP
