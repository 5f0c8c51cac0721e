// SPDX-License-Identifier: Apache-2.0
/// \file
/// A sequence of a pool that is too small at times, because forks of it have pages too.
#ifndef MORPHKV_TESTS_SUPPORT_POOLED_TWIN_HPP
#define MORPHKV_TESTS_SUPPORT_POOLED_TWIN_HPP

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "support/page_model.hpp"
#include "support/random.hpp"
#include "support/script.hpp"

namespace morphkv::testing {

/// The pool has pages for the sequence alone, and perhaps some more. Where a call finds no page,
/// nothing has changed, a fork is released, and the call is repeated. A fork is in the end what it
/// was at first, whatever the sequence wrote.
template <Storable T, EvictionPolicy Policy>
class PooledTwin {
 public:
  using Pool = SequencePool<T, Policy>;
  using Sequence = typename Pool::Sequence;

  /// \param slots [layers]: of each head
  PooledTwin(const CacheShape& shape, const typename Policy::Options& options,
             std::span<const std::size_t> slots, std::uint64_t seed)
      : random_(seed),
        page_size_(1 + random_.below(9)),
        memory_(count_pages(slots) * Pool::page_elements(shape, page_size_)),
        pool_(shape, memory_, page_size_, random_.chance(0.5) ? HeadOrder::hnd : HeadOrder::nhd),
        id_(pool_.create(options)) {}

  [[nodiscard]] Sequence& sequence() { return pool_[id_]; }

  /// \return what call(sequence()) returns once it has pages
  template <class Call>
  Status call(const Call& call) {
    for (;;) {
      const auto before = sequence().save();
      const auto pages = pages_of_all();
      const Status status = call(sequence());
      if (status != Status::no_memory) return status;
      EXPECT_EQ(sequence().save(), before);
      EXPECT_EQ(pages_of_all(), pages);
      if (forks_.empty()) return status;
      release_fork();
    }
  }

  void restore(std::span<const std::byte> saved) {
    for (;;) {
      const auto before = sequence().save();
      const auto pages = pages_of_all();
      try {
        return sequence().restore(saved);
      } catch (const std::invalid_argument&) {
        EXPECT_EQ(sequence().save(), before);
        EXPECT_EQ(pages_of_all(), pages);
        if (forks_.empty()) throw;
        release_fork();
      }
    }
  }

  /// Goes on with a copy of a fork, or the fork does. The other one stays, perhaps a token longer.
  void fork() {
    Id other = pool_.fork(id_);
    sequence().reset();
    sequence().copy_from(pool_[other]);
    if (random_.chance(0.5)) std::swap(id_, other);
    if (random_.chance(0.5)) {
      const Tokens token = draw_tokens(sequence().shape(), 1, random_);
      (void)pool_[other].append(0, token.keys, token.values, pool_[other].next_position(0));
    }
    forks_.push_back({other, pool_[other].save()});
  }

  void reset() {
    while (!forks_.empty()) release_fork();
    sequence().reset();
    EXPECT_EQ(pool_.free_pages(), pool_.pages());
  }

  void expect_consistent() const {
    PageModel<Pool>(pool_, ids(), pool_[id_].shape().layers).expect_consistent(pool_);
  }

 private:
  using Id = typename Pool::Id;
  struct Fork {
    Id id;
    std::vector<std::byte> saved;
  };

  [[nodiscard]] std::size_t count_pages(std::span<const std::size_t> slots) {
    std::size_t pages = 0;
    for (const std::size_t of_layer : slots) pages += pages_for(of_layer, page_size_);
    return pages + random_.below(pages);
  }

  [[nodiscard]] std::vector<Id> ids() const {
    std::vector<Id> ids{id_};
    for (const Fork& fork : forks_) ids.push_back(fork.id);
    return ids;
  }

  /// [sequences x layers][pages]
  [[nodiscard]] std::vector<std::vector<std::int32_t>> pages_of_all() const {
    std::vector<std::vector<std::int32_t>> all;
    for (const Id id : ids()) {
      for (std::size_t layer = 0; layer < pool_[id].shape().layers; ++layer) {
        const auto pages = pool_[id].storage().pages(layer).pages;
        all.emplace_back(pages.begin(), pages.end());
      }
    }
    return all;
  }

  void release_fork() {
    std::swap(forks_[random_.below(forks_.size())], forks_.back());
    EXPECT_EQ(pool_[forks_.back().id].save(), forks_.back().saved);
    pool_.release(forks_.back().id);
    forks_.pop_back();
  }

  Random random_;
  std::size_t page_size_;
  std::vector<T> memory_;
  Pool pool_;
  Id id_;
  std::vector<Fork> forks_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_POOLED_TWIN_HPP
