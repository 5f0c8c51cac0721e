// SPDX-License-Identifier: Apache-2.0
// A cache that is saved and restored goes on as if nothing had happened, and nothing but what it
// wrote is taken for it.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"
#include "morphkv/cache/snapshot.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"
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

TYPED_TEST(SnapshotTest, NoDraftIsTakenBackAcrossIt) {
  const Script script;
  typename TestFixture::template Cache<> cache(shape, this->options(6));
  (void)script.decode(cache, 30);
  const Bytes saved = cache.save();
  (void)script.decode(cache, 3);
  cache.restore(saved);
  EXPECT_EQ(cache.rollback(1), Status::too_far_back);
  typename TestFixture::template Cache<> reference(shape, this->options(6));
  (void)script.decode(reference, 30);
  ASSERT_EQ(script.decode(cache, 4), script.decode(reference, 4));
  (void)Script(2).decode(cache, 5);
  ASSERT_EQ(cache.rollback(5), Status::ok);
  ASSERT_EQ(script.decode(cache, 10), script.decode(reference, 10));
  ASSERT_EQ(state_of(cache), state_of(reference));
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
  model = shape;
  model.windows = nullptr;
  expect_refusal(model, 14, "window");
  expect_refusal(shape, 15, "slots of a head");
  KVCache<Eigen::half, MorphKV> half(shape, {.capacity = 14});
  expect_unchanged(half, saved, "bytes of an element");
  KVCache<Eigen::bfloat16, MorphKV> bf16(shape, {.capacity = 14});
  expect_unchanged(bf16, half.save(), "kind of an element");
  KVCache<float, StreamingLLM> streaming(shape, {.capacity = 14});
  expect_unchanged(streaming, saved, "size of the state");
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
