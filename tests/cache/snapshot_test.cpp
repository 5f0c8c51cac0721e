// SPDX-License-Identifier: Apache-2.0
// A cache that is saved and restored goes on as if nothing had happened, and nothing but what it
// wrote is taken for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <span>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "morphkv/cache/snapshot.hpp"
#include "support/contenders.hpp"
#include "support/engine_memory.hpp"
#include "support/errors.hpp"
#include "support/random.hpp"
#include "support/script.hpp"

namespace morphkv::testing::snapshot_test { namespace {

constexpr std::size_t windows[] = {0, 5};
constexpr float sinks[] = {0.5F, 1.0F, -1.0F, 0.0F, 2.0F, 0.0F, 0.0F, 1.0F};
constexpr CacheShape shape{.layers = 2,
                           .query_heads = 4,
                           .kv_heads = 2,
                           .head_dim = 8,
                           .value_dim = 12,
                           .sinks = sinks,
                           .windows = windows};

using Bytes = std::vector<std::byte>;

/// The same bytes with another body, whose checksum is right.
Bytes with_body(const Bytes& saved, std::size_t at, std::byte value) {
  Bytes altered = saved;
  altered[sizeof(SnapshotHeader) + at] = value;
  SnapshotHeader header;
  std::memcpy(&header, altered.data(), sizeof header);
  header.checksum = crc32(std::span(altered).subspan(sizeof header));
  std::memcpy(altered.data(), &header, sizeof header);
  return altered;
}

TEST(Snapshot, ChecksumIsThatOfZlib) {
  const char text[] = "123456789";
  EXPECT_EQ(crc32(std::as_bytes(std::span(text, 9))), 0xcbf43926U);
  EXPECT_EQ(crc32({}), 0U);
}

/// Of any length and alignment: the remainder of a division of polynomials, bit by bit.
TEST(Snapshot, ChecksumIsARemainder) {
  Random random(1);
  Bytes bytes(80);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.below(256));
  for (std::size_t begin = 0; begin < 9; ++begin) {
    std::uint32_t crc = ~std::uint32_t{0};
    for (std::size_t end = begin; end < bytes.size(); ++end) {
      ASSERT_EQ(crc32(std::span(bytes).subspan(begin, end - begin)), ~crc) << begin << ", " << end;
      crc ^= static_cast<std::uint32_t>(bytes[end]);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1U ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
    }
  }
}

/// Sums in panes: 32 bits per pane and slot.
struct MorphKVPanes : MorphKVSum {
  static MorphKV::Options options(const Setting& setting) {
    MorphKV::Options result = MorphKVSum::options(setting);
    result.panes = result.window / 2;
    return result;
  }
};

template <class Contender>
class SnapshotTest : public ::testing::Test {
 protected:
  static auto options(std::size_t history = 0) {
    return Contender::options({.capacity = 14, .max_tokens = 200, .history = history});
  }
  template <class T = float>
  using Cache = KVCache<T, typename Contender::Policy>;
};
/// One for each kind of state.
using Contenders = ::testing::Types<MorphKVSum, MorphKVPanes, SnapKVAverage, H2OPlain,
                                    DecayedMaxWithPins, TOVAContender, RandomContender>;
TYPED_TEST_SUITE(SnapshotTest, Contenders);
template <class Contender>
class DraftTest : public SnapshotTest<Contender> {};
TYPED_TEST_SUITE(DraftTest, AllContenders);

TYPED_TEST(SnapshotTest, GoesOnBitForBit) {
  const Script script;
  for (const std::size_t prompt : {0U, 3U, 40U}) {
    if (prompt > 9 && std::same_as<TypeParam, RandomContender>) continue;  // all protected
    for (const std::size_t steps : {0U, 1U, 30U}) {
      typename TestFixture::template Cache<> cache(shape, this->options());
      if (prompt > 0) (void)script.prefill(cache, prompt);
      (void)script.decode(cache, steps);
      typename TestFixture::template Cache<> restored(shape, this->options());
      (void)Script(2).decode(restored, 25);  // what it held is gone
      restored.restore(cache.save());
      ASSERT_EQ(state_of(restored), state_of(cache));
      ASSERT_EQ(restored.save(), cache.save());
      ASSERT_EQ(script.decode(restored, 20), script.decode(cache, 20));
      ASSERT_EQ(script.prefill(restored, 7), script.prefill(cache, 7));
      ASSERT_EQ(script.decode(restored, 20), script.decode(cache, 20));
      ASSERT_EQ(state_of(restored), state_of(cache));
    }
  }
}

TYPED_TEST(DraftTest, AreTakenBackAfterItToo) {
  const Script script;
  for (const std::size_t block : {0U, 1U, 4U}) {
    for (const std::size_t steps : {0U, 1U, 2U, 6U, 9U}) {
      for (const std::size_t history : {6U, 3U, 0U, 8U}) {
        SCOPED_TRACE(::testing::Message()
                     << "block " << block << ", steps " << steps << ", history " << history);
        typename TestFixture::template Cache<> cache(shape, this->options(6));
        (void)script.decode(cache, 20);
        if (block > 0) (void)Script(3).prefill(cache, block);
        (void)Script(4).decode(cache, steps);
        const Bytes saved = cache.save();
        typename TestFixture::template Cache<> restored(shape, this->options(history));
        (void)Script(2).decode(restored, 25);
        restored.restore(saved);
        if (history == 6) {
          ASSERT_EQ(restored.save(), saved);
        }
        const auto past = [](const auto& one) { return one.policy(0, 0).recorded(); };
        // Of a block all or none.
        const std::size_t kept = block == 0 ? history : (std::min)(history, steps);
        const std::size_t least = past(cache) <= history ? past(cache) : kept;
        ASSERT_EQ(past(restored), least);
        for (std::size_t back = 1; back <= 7; ++back) {
          typename TestFixture::template Cache<> one(cache);
          typename TestFixture::template Cache<> other(restored);
          const Status status = other.rollback(back);
          ASSERT_EQ(status, back <= least ? Status::ok : Status::too_far_back) << back;
          if (status != Status::ok) continue;
          ASSERT_EQ(one.rollback(back), Status::ok);
          ASSERT_EQ(state_of(other), state_of(one)) << back;
          if (history == 6) {
            ASSERT_EQ(other.save(), one.save());
          }
          ASSERT_EQ(Script(5).decode(other, 5), Script(5).decode(one, 5));
          if (history != 6) continue;
          ASSERT_EQ(other.rollback(3), Status::ok);
          ASSERT_EQ(one.rollback(3), Status::ok);
          ASSERT_EQ(script.prefill(other, 3), script.prefill(one, 3));
          ASSERT_EQ(other.save(), one.save());
        }
      }
    }
  }
}

TEST(Snapshot, BetweenAttentionAndObservationNothingIsLost) {
  const Script script;
  KVCache<float, MorphKV> cache(shape, {.capacity = 14});
  (void)script.decode(cache, 30);
  script.append(cache);  // a token that has not attended
  KVCache<float, MorphKV> restored(shape, {.capacity = 14});
  restored.restore(cache.save());
  ASSERT_EQ(script.decode(restored, 10), script.decode(cache, 10));
}

TEST(Snapshot, OfAnyStorageAndFormat) {
  const Script script;
  CacheShape model = shape;
  model.head_dim = 64;
  model.value_dim = 32;
  KVCache<Q8_0, MorphKV> quantised(model, {.capacity = 14});
  (void)script.prefill(quantised, 40);
  KVCache<Q8_0, MorphKV> again(model, {.capacity = 14});
  again.restore(quantised.save());
  ASSERT_EQ(script.decode(again, 20), script.decode(quantised, 20));

  KVCache<float, MorphKV> owned(shape, {.capacity = 14});
  (void)script.prefill(owned, 40);
  std::vector<float> memory(SequencePool<float, MorphKV>::page_elements(shape, 5) * 20);
  SequencePool<float, MorphKV> pool(shape, memory, 5);
  const auto other = pool.create({.capacity = 14});
  const auto id = pool.create({.capacity = 14});
  (void)script.prefill(pool[other], 9);
  const auto before = state_of(pool[other]);
  pool[id].restore(owned.save());
  ASSERT_EQ(script.decode(pool[id], 20), script.decode(owned, 20));
  ASSERT_EQ(state_of(pool[other]), before);
}

/// A cache of another capacity, of any storage, goes on like one in memory of its own; what it
/// holds then is what its policies hold, which tests/eviction/transfer_test.cpp follows.
TYPED_TEST(SnapshotTest, IntoAnotherCapacityOfAnyStorage) {
  using Policy = typename TypeParam::Policy;
  const Script script;
  const auto options_of = [](std::size_t capacity) {
    return TypeParam::options({.capacity = capacity, .window = 3, .max_tokens = 70, .history = 4});
  };
  for (const std::size_t capacity : {9U, 14U, 20U, 31U}) {
    typename TestFixture::template Cache<> cache(shape, options_of(20));
    (void)script.prefill(cache, std::same_as<TypeParam, RandomContender> ? 5 : 40);
    (void)script.decode(cache, 12);
    const Bytes saved = cache.save();
    typename TestFixture::template Cache<> owned(shape, options_of(capacity));
    owned.restore(saved);
    for (std::size_t head = 0; head < 4; ++head) {
      ByteWriter out;
      cache.policy(head / 2, head % 2).save(out);
      ByteReader in(out.bytes());
      Policy policy = owned.policy(head / 2, head % 2);
      const std::vector<Slot> sources = policy.restore(in);
      for (Slot slot = 0; slot < sources.size(); ++slot) {
        ASSERT_TRUE(std::ranges::equal(owned.key(head / 2, head % 2, slot),
                                       cache.key(head / 2, head % 2, sources[slot])));
        ASSERT_TRUE(std::ranges::equal(owned.value(head / 2, head % 2, slot),
                                       cache.value(head / 2, head % 2, sources[slot])));
      }
      ASSERT_EQ(sources.size(), owned.size(head / 2, head % 2));
    }
    if (capacity != 20) {
      EXPECT_EQ(owned.rollback(1), Status::too_far_back);
    }

    using Pool = SequencePool<float, Policy>;
    std::vector<float> memory(Pool::page_elements(shape, 5) * 40);
    Pool pool(shape, memory, 5);
    const auto id = pool.create(options_of(capacity));
    (void)Script(2).prefill(pool[id], 4);
    (void)Script(2).decode(pool[id], 60);
    pool[id].restore(saved);
    std::size_t pages = 0;
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      pages += (std::max(owned.size(layer, 0), owned.size(layer, 1)) + 4) / 5;
    }
    EXPECT_EQ(pool.pages() - pool.free_pages(), pages) << "the others came back";
    EngineMemory<float> engine(shape, owned.policy(0, 0).slots(), {"pages", HeadOrder::nhd, 7});
    KVCache<float, Policy, EngineStorage<float>> paged(shape, options_of(capacity),
                                                       engine.storage());
    paged.restore(saved);
    ASSERT_EQ(pool[id].save(), owned.save());
    ASSERT_EQ(paged.save(), owned.save());
    const std::vector<float> outputs = script.decode(owned, 20);
    ASSERT_EQ(script.decode(pool[id], 20), outputs);
    ASSERT_EQ(script.decode(paged, 20), outputs);
    ASSERT_EQ(pool[id].save(), owned.save());
  }
}

/// Budgets: every head takes over what fits its own capacity.
TEST(Snapshot, IntoOtherBudgets) {
  const Script script;
  CacheShape model = shape;
  model.windows = nullptr;
  KVCache<float, MorphKV> cache(model, {.capacity = 20, .window = 4});
  (void)script.prefill(cache, 50);
  const std::vector<std::size_t> capacities{8, 30, 12, 20};
  KVCache<float, MorphKV> other(model, {.capacity = 20, .window = 4}, Budget::per_head(capacities));
  other.restore(cache.save());
  for (std::size_t head = 0; head < 4; ++head) {
    EXPECT_EQ(other.size(head / 2, head % 2), (std::min)(capacities[head], std::size_t{20}));
  }
  (void)script.decode(other, 30);
  for (std::size_t head = 0; head < 4; ++head) {
    EXPECT_EQ(other.size(head / 2, head % 2), capacities[head]);
  }
  KVCache<float, MorphKV> back(model, {.capacity = 16, .window = 4}, Budget::pyramid(2));
  back.restore(other.save());
  (void)script.decode(back, 30);
  for (std::size_t head = 0; head < 4; ++head) {
    EXPECT_EQ(back.size(head / 2, head % 2), back.policy(head / 2, head % 2).capacity());
  }
}

/// Of an adaptive budget, a head has the capacity that it has in the restoring cache.
TEST(Snapshot, IntoAnAdaptiveBudget) {
  const Script script;
  CacheShape model = shape;
  model.windows = nullptr;
  const MorphKV::Options options{.capacity = 20, .window = 4};
  KVCache<float, MorphKV> cache(model, options, Budget::adaptive());
  (void)script.prefill(cache, 50);
  ASSERT_NE(cache.size(0, 0), cache.size(0, 1)) << "it was divided";
  const Bytes saved = cache.save();
  (void)script.decode(cache, 5);
  cache.restore(saved);
  ASSERT_EQ(cache.save(), saved) << "its heads have kept their capacities";
  KVCache<float, MorphKV> fresh(model, options, Budget::adaptive());
  fresh.restore(saved);
  for (std::size_t head = 0; head < 4; ++head) {
    EXPECT_EQ(fresh.size(head / 2, head % 2),
              (std::min)(cache.size(head / 2, head % 2), std::size_t{20}));
  }
  (void)script.prefill(fresh, 30);
  (void)script.decode(fresh, 5);
  for (std::size_t head = 0; head < 4; ++head) EXPECT_EQ(fresh.size(head / 2, head % 2), 20U);
}

TEST(Snapshot, ThatCannotShrinkIsRefusedByName) {
  const Script script;
  const auto options = [](std::size_t capacity) {
    return MorphKV::Options{.capacity = capacity, .window = 3, .sinks = 2, .protect_prompt = true};
  };
  KVCache<float, MorphKV> cache(shape, options(20));
  (void)script.prefill(cache, 12);
  (void)script.decode(cache, 9);
  KVCache<float, MorphKV> smaller(shape, options(14));
  (void)Script(2).decode(smaller, 30);
  const Bytes before = smaller.save();
  expect_refused([&] { smaller.restore(cache.save()); }, "capacity of a head = 14");
  EXPECT_EQ(smaller.save(), before);
  KVCache<float, MorphKV> fits(shape, options(15));
  fits.restore(cache.save());

  KVCache<float, Full> full(shape, {.max_tokens = 30});
  (void)script.decode(full, 21);
  KVCache<float, Full> short_one(shape, {.max_tokens = 20});
  expect_refused([&] { short_one.restore(full.save()); }, "slots of a head = 20");
  EXPECT_EQ(short_one.size(0, 0), 0U);
}

template <class Cache>
void expect_unchanged(Cache& cache, const Bytes& bad, const std::string& name) {
  const Bytes before = cache.save();
  const std::string message = refusal([&] { cache.restore(bad); });
  EXPECT_NE(message.find(name), std::string::npos) << message << " has no \"" << name << '"';
  EXPECT_EQ(cache.save(), before);
}

TEST(Snapshot, OfAnotherCacheIsRefusedByName) {
  const Script script;
  KVCache<float, MorphKV> cache(shape, {.capacity = 14});
  (void)script.decode(cache, 30);
  const Bytes saved = cache.save();
  const auto expect_refusal = [&](const CacheShape& model, std::size_t capacity,
                                  const std::string& name) {
    KVCache<float, MorphKV> other(model, {.capacity = capacity});
    expect_unchanged(other, saved, name);
  };
  CacheShape model = shape;
  model.layers = 1;
  expect_refusal(model, 14, "layers");
  model = shape;
  model.kv_heads = 4;
  expect_refusal(model, 14, "kv_heads");
  model = shape;
  model.value_dim = 4;
  expect_refusal(model, 14, "value_dim");
  model = shape;
  model.scale = 2;
  expect_refusal(model, 14, "scale");
  model = shape;
  model.sinks = nullptr;
  expect_refusal(model, 14, "sinks");
  std::vector<float> other_sinks(std::begin(sinks), std::end(sinks));
  other_sinks.back() = 0;
  model.sinks = other_sinks.data();
  expect_refusal(model, 14, "sinks");
  model = shape;
  const std::vector<float> slopes(shape.query_heads, 0.5F);
  model.slopes = slopes.data();
  expect_refusal(model, 14, "slopes");
  const KVCache<float, MorphKV> sloping(model, {.capacity = 14});
  const std::vector<float> others(shape.query_heads, 0.25F);
  model.slopes = others.data();
  KVCache<float, MorphKV> steeper(model, {.capacity = 14});
  expect_unchanged(steeper, sloping.save(), "slopes");
  model = shape;
  model.windows = nullptr;
  expect_refusal(model, 14, "window");
  KVCache<Eigen::half, MorphKV> half(shape, {.capacity = 14});
  expect_unchanged(half, saved, "bytes of an element");
  KVCache<Eigen::bfloat16, MorphKV> bf16(shape, {.capacity = 14});
  expect_unchanged(bf16, half.save(), "kind of an element");
  KVCache<float, StreamingLLM> streaming(shape, {.capacity = 14});
  expect_unchanged(streaming, saved, "16-bit numbers of a score");
}

TEST(Snapshot, TruncatedOrAlteredIsRefused) {
  const Script script;
  KVCache<float, MorphKV> cache(shape, {.capacity = 14});
  (void)script.decode(cache, 30);
  const Bytes saved = cache.save();
  KVCache<float, MorphKV> other(shape, {.capacity = 14});
  for (std::size_t length = 0; length < saved.size(); length += length < 64 ? 1 : 97) {
    const Bytes cut(saved.begin(), saved.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_THROW(other.restore(cut), std::invalid_argument) << length;
  }
  for (std::size_t at = 0; at < saved.size(); at += at < 64 ? 1 : 89) {
    if (at >= 28 && at < 32) continue;  // reserved
    Bytes altered = saved;
    altered[at] ^= std::byte{4};
    EXPECT_THROW(other.restore(altered), std::invalid_argument) << at;
  }
  Bytes longer = saved;
  longer.push_back(std::byte{0});
  EXPECT_THROW(other.restore(longer), std::invalid_argument);
  EXPECT_EQ(other.size(0, 0), 0U);
}

/// With a right checksum too: a state is refused, or every step after it stays inside its memory,
/// which the sanitizers and the assertions watch.
TYPED_TEST(SnapshotTest, AHostileStateIsRefusedOrHarmless) {
  const Script script;
  const CacheShape small{.layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 4};
  typename TestFixture::template Cache<> cache(small, this->options());
  (void)script.decode(cache, 30);
  const Bytes saved = cache.save();
  const std::size_t body = saved.size() - sizeof(SnapshotHeader);
  std::size_t refused = 0;
  for (std::size_t at = 0; at < body; at += 3) {
    for (const std::byte value : {std::byte{0x80}, std::byte{0xff}, std::byte{1}}) {
      typename TestFixture::template Cache<> other(small, this->options());
      try {
        other.restore(with_body(saved, at, value));
      } catch (const std::exception&) {
        ++refused;
        continue;
      }
      for (std::size_t step = 0; step < 3; ++step) {
        const Position position = other.next_position(0);
        const Tokens token = script.at(small, 0, position);
        std::vector<float> output(small.output_width());
        (void)other.append(0, token.keys, token.values, position);
        (void)other.attend(0, token.queries, std::span<float>(output));
      }
    }
  }
  EXPECT_GT(refused, 20U);
}

}  // namespace
}  // namespace morphkv::testing::snapshot_test
