// SPDX-License-Identifier: Apache-2.0
// Saved caches that nobody saved: random bytes, parts of valid ones, valid ones with other bytes
// and a right checksum, and those of other caches. Each is refused by a message and nothing
// changes, or the cache goes on inside its memory; and no more is allocated than the cache itself
// needs.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "fuzz/fuzz_input.hpp"
#include "fuzz/gtest_failures.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/counted_new.hpp"
#include "support/script.hpp"

namespace morphkv::testing { namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t windows[] = {0, 5};
constexpr CacheShape plain{.layers = 1, .query_heads = 2, .kv_heads = 1, .head_dim = 4};
constexpr CacheShape sliding{.layers = 2,
                             .query_heads = 2,
                             .kv_heads = 2,
                             .head_dim = 4,
                             .value_dim = 6,
                             .windows = windows};
constexpr CacheShape latent{.layers = 1,
                            .query_heads = 3,
                            .kv_heads = 1,
                            .head_dim = 8,
                            .value_dim = 5,
                            .values_in_keys = true};
constexpr CacheShape blocks{.layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 32};
constexpr float scales[] = {0.5F, 0.01F};
constexpr CacheShape scaled{
    .layers = 1, .query_heads = 2, .kv_heads = 2, .head_dim = 5, .key_scales = scales};

/// Writes a right header over the first bytes of a file.
void seal(Bytes& file) {
  if (file.size() < sizeof(SnapshotHeader)) file.resize(sizeof(SnapshotHeader));
  const auto body = std::span(file).subspan(sizeof(SnapshotHeader));
  SnapshotHeader header;
  header.bytes = body.size();
  header.checksum = crc32(body);
  std::memcpy(file.data(), &header, sizeof header);
}

/// Some tokens, not all of which attend.
template <class Cache>
void use(Cache& cache, std::size_t code) {
  const Script script(code);
  if (code % 3 > 0 && code % 64 > 0) (void)script.prefill(cache, code % 64);
  (void)script.decode(cache, code / 64 * 7);
  if (code % 5 == 0) script.append(cache);
}

/// Calls that may be refused, and that must not leave the cache's memory.
template <class Cache>
void exercise(Cache& cache) {
  const Script script;
  const CacheShape& shape = cache.shape();
  for (std::size_t round = 0; round < 3; ++round) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Position position = cache.next_position(layer);
      const std::size_t tokens = round == 1 ? 20 : 1;
      const Tokens block = script.at(shape, layer, position, tokens);
      std::vector<float> output(tokens * shape.output_width());
      if (round == 1) {
        (void)cache.prefill(layer, block.queries, block.keys, block.values,
                            std::span<float>(output));
      } else {
        (void)cache.append(layer, block.keys, block.values, position);
        (void)cache.attend(layer, block.queries, std::span<float>(output));
      }
    }
    (void)cache.rollback(1 + round);
  }
  Cache fork(cache);
  fork.restore(cache.save());
  fuzz_check(fork.save() == cache.save(), "what was restored is not what was saved");
}

/// The file that the bytes make of a saved cache.
Bytes draw_file(const Bytes& saved, const Bytes& foreign, FuzzBytes& bytes) {
  const std::size_t code = bytes.byte();
  Bytes file = code / 8 % 4 == 3 ? foreign : saved;
  switch (code % 8) {
    case 0: {  // as they are
      const auto rest = std::as_bytes(std::span(bytes.rest()));
      return {rest.begin(), rest.end()};
    }
    case 1: {  // after a right header
      file.resize(sizeof(SnapshotHeader));
      const auto rest = std::as_bytes(std::span(bytes.rest()));
      file.insert(file.end(), rest.begin(), rest.end());
      break;
    }
    case 2:  // a part of it, whose checksum is right or not
      file.resize(bytes.below(65'536) % (file.size() + 1));
      if (bytes.byte() % 2 == 0) return file;
      break;
    case 3: {  // another byte in the header or anywhere
      const std::size_t bound = bytes.byte() % 2 == 0 ? sizeof(SnapshotHeader) : file.size();
      file[bytes.below(65'536) % bound] ^= static_cast<std::byte>(1 + bytes.below(255));
      return file;
    }
    default:  // numbers in the body
      while (!bytes.empty()) {
        const std::size_t place = bytes.below(65'536) % (file.size() - sizeof(SnapshotHeader));
        const std::size_t at = sizeof(SnapshotHeader) + (code % 2 == 0 ? place : place / 4 * 4);
        for (std::size_t i = at; i < (std::min)(at + 1 + code % 4, file.size()); ++i) {
          file[i] = static_cast<std::byte>(bytes.byte());
        }
      }
  }
  seal(file);
  return file;
}

template <Storable T, class Contender>
void play(const CacheShape& shape, FuzzBytes& bytes) {
  using Cache = KVCache<T, typename Contender::Policy>;
  Setting setting{.capacity = 14, .max_tokens = 400, .history = 3};
  Cache saved(shape, Contender::options(setting));
  use(saved, bytes.byte());
  KVCache<T, MorphKV> foreign(shape, {.capacity = 15});
  use(foreign, bytes.byte());
  // Half of them have the same options.
  if (const std::size_t code = bytes.byte(); code % 2 == 1) {
    constexpr std::size_t capacities[] = {9, 13, 14, 15, 40};
    setting.capacity = capacities[code / 2 % 5];
    setting.window = code / 10 % 5 == 0 ? 3 : 4;
    setting.history = code / 50;
  }
  Cache cache(shape, Contender::options(setting));
  use(cache, bytes.byte());
  const Bytes file = draw_file(saved.save(), foreign.save(), bytes);
  const Bytes before = cache.save();
  const std::size_t live = allocations.live;
  allocations.peak = live;
  std::string refusal;
  try {
    cache.restore(file);
  } catch (const std::invalid_argument& error) {
    refusal = error.what();
  }
  // A copy of the heads, of one of them twice, one like that of the file, and a message.
  const std::size_t most = 3 * cache.memory().total() + 3 * file.size() + 4096;
  fuzz_check(allocations.peak - live <= most, "too much was allocated");
  if (!refusal.empty()) {
    fuzz_check(refusal.find("must be") != std::string::npos, "no message: " + refusal);
    fuzz_check(cache.save() == before, "a refused snapshot has changed the cache");
  }
  exercise(cache);
}

}}  // namespace morphkv::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv::testing;
  using morphkv::Q4_0;
  using morphkv::Q8_0;
  struct Kind {
    void (*play)(const morphkv::CacheShape&, FuzzBytes&);
    const morphkv::CacheShape& shape;
  };
  static constexpr Kind kinds[] = {{play<float, MorphKVMax>, plain},
                                   {play<float, MorphKVMax>, sliding},
                                   {play<float, SnapKVAverage>, plain},
                                   {play<Eigen::half, H2OPlain>, latent},
                                   {play<float, DecayedMaxWithPins>, plain},
                                   {play<Q8_0, DecayedMaxWithPins>, blocks},
                                   {play<Q4_0, TOVAContender>, blocks},
                                   {play<Eigen::bfloat16, StreamingLLMContender>, sliding},
                                   {play<morphkv::E4M3, MorphKVMax>, scaled}};
  FuzzBytes bytes(data, size);
  const Kind& kind = kinds[bytes.below(std::size(kinds))];
  kind.play(kind.shape, bytes);
  return 0;
}
