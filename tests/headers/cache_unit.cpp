// SPDX-License-Identifier: Apache-2.0
//
// A unit that uses caches, in a function of the name MORPHKV_TEST_UNIT: compiled for the baseline
// and for the widest vectors of this machine (mixed_main.cpp), and as another compiler sees it
// (microsoft.cpp).
#include <morphkv/morphkv.hpp>
#include <vector>

namespace {

template <class T, class Policy>
bool runs(const typename Policy::Options& options) {
  using namespace morphkv;
  const CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 32};
  KVCache<T, Policy> cache(shape, options);
  const std::vector<float> token(40 * shape.key_width(), 1.0F);
  const std::vector<float> query(40 * shape.query_width(), 1.0F);
  std::vector<float> output(query.size());
  if (cache.prefill(0, query, token, token, std::span<float>(output)) != Status::ok) return false;
  const auto one = std::span(token).first(shape.key_width());
  for (Position position = 40; position < 100; ++position) {
    if (cache.append(0, one, one, position) != Status::ok) return false;
    if (cache.attend(0, std::span(query).first(shape.query_width()),
                     std::span(output).first(shape.query_width())) != Status::ok) {
      return false;
    }
  }
  KVCache<T, Policy> restored(shape, options);
  restored.restore(cache.save());
  return restored.size(0, 0) == cache.size(0, 0) && output[0] > 0.9F && output[0] < 1.1F;
}

}  // namespace

int MORPHKV_TEST_UNIT();

int MORPHKV_TEST_UNIT() {
  const bool all =
      runs<float, morphkv::MorphKV>({.capacity = 16, .window = 4}) &&
      runs<Eigen::bfloat16, morphkv::DecayedMax>({.capacity = 16, .recent = 4, .pins = 4}) &&
      runs<morphkv::Q8_0, morphkv::H2O>({.heavy = 8, .recent = 8}) &&
      runs<morphkv::E4M3, morphkv::StreamingLLM>({.capacity = 16});
  return all ? 0 : 1;
}
