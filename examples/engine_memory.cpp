// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values in pages that the engine owns. The sequence needs new pages until it reaches its
/// capacity, and none after that. Each token's slot and victim are reported, so that the engine can
/// keep its own records.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "morphkv/morphkv.hpp"
#include "support/made_up_tokens.hpp"

namespace {

using morphkv::HeadOrder, morphkv::Placement, morphkv::Position, morphkv::Status;

constexpr morphkv::CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 32};
constexpr std::size_t page_size = 16;
using Memory = morphkv::LayerMemory<Eigen::half>;
using Storage = morphkv::EngineStorage<Eigen::half>;
using Cache = morphkv::KVCache<Eigen::half, morphkv::MorphKV, Storage>;

/// The engine's pool: for each layer the keys and values of all pages, [page][slot][head][dim].
class PagePool {
 public:
  explicit PagePool(std::size_t pages) {
    const std::size_t elements = pages * page_size * shape.kv_heads * shape.head_dim;
    memory_.resize(2 * shape.layers * elements);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      Eigen::half* keys = memory_.data() + 2 * layer * elements;
      layers_.push_back({keys, keys + elements});
    }
    for (std::size_t page = 0; page < pages; ++page) {
      free_.push_back(static_cast<std::int32_t>(page));
    }
  }

  [[nodiscard]] const std::vector<Memory>& layers() const { return layers_; }
  [[nodiscard]] std::int32_t take() {
    const std::int32_t page = free_.back();
    free_.pop_back();
    return page;
  }

 private:
  std::vector<Eigen::half> memory_;
  std::vector<Memory> layers_;
  std::vector<std::int32_t> free_;
};

}  // namespace

int main() {
  PagePool pool(64);
  std::vector<std::int32_t> pages;  // of this sequence
  Cache cache(shape, {.capacity = 100, .window = 16},
              Storage(shape, pool.layers(), {pages, page_size}, HeadOrder::nhd));

  // The engine's own books: which token lies in which slot of layer 0, for each head.
  std::array<std::array<Position, 100>, shape.kv_heads> tokens{};
  std::array<Placement, shape.kv_heads> placements;
  std::size_t victims = 0;
  for (Position position = 0; position < 600; ++position) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      morphkv::examples::Tokens token(shape, 1, static_cast<std::uint32_t>(position));
      const auto append = [&] {
        return cache.append(layer, token.keys, token.values, position, placements);
      };
      Status status = append();
      if (status == Status::no_memory) {  // and nothing has changed
        pages.push_back(pool.take());
        cache.storage().set_pages(pages);
        status = append();
      }
      if (status != Status::ok) return 1;
      if (cache.attend(layer, token.queries, token.outputs) != Status::ok) return 1;
      for (std::size_t head = 0; layer == 0 && head < shape.kv_heads; ++head) {
        const Placement& placement = placements[head];
        if (placement.evicted != morphkv::no_position) ++victims;
        tokens[head][placement.slot] = position;
      }
    }
  }

  const std::size_t slots = cache.size(0, 0);
  std::printf("600 tokens in %zu slots: %zu pages of %zu, %zu slots in the last one\n", slots,
              pages.size(), page_size, morphkv::last_page_len(slots, page_size));
  std::printf("%zu victims reported in layer 0\n", victims);
  bool same = pages.size() == morphkv::pages_for(100, page_size) && victims == 2 * 500;
  for (std::size_t head = 0; head < shape.kv_heads; ++head) {
    same = same && std::ranges::equal(tokens[head], cache.positions(0, head));
  }
  return same ? 0 : 1;
}
