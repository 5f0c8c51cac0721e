// SPDX-License-Identifier: Apache-2.0
#include "cuda/reference.hpp"

#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"
#include "support/duel.hpp"

namespace morphkv::testing {
namespace {

template <class Policy>
class PortableHead final : public Reference {
 public:
  explicit PortableHead(const typename Policy::Options& options) : policy_(options) {}

  Placement place(Position position) override { return policy_.place(position); }
  Status observe(std::span<const float> row) override { return policy_.observe(row); }
  Status prompt(const std::vector<std::vector<float>>& rows) override {
    std::vector<oracle::Row> by_position;
    for (const std::vector<float>& row : rows) by_position.emplace_back(row.begin(), row.end());
    return append_block(policy_, 0, by_position);
  }
  [[nodiscard]] std::vector<Position> positions() const override {
    return {policy_.positions().begin(), policy_.positions().end()};
  }

 private:
  Policy policy_;
};

}  // namespace

std::unique_ptr<Reference> make_reference(const cuda::Policy& p) {
  switch (p.score) {
    case cuda::ScoreKind::window_sum:
    case cuda::ScoreKind::window_max:
      return std::make_unique<PortableHead<MorphKV>>(MorphKV::Options{
          .capacity = p.capacity,
          .window = p.window,
          .fusion = p.score == cuda::ScoreKind::window_sum ? Fusion::sum : Fusion::max,
          .sinks = p.sinks,
          .protect_prompt = p.protect_prompt});
    case cuda::ScoreKind::running_sum:
      return std::make_unique<PortableHead<H2O>>(H2O::Options{.heavy = p.capacity - p.recent,
                                                              .recent = p.recent,
                                                              .sinks = p.sinks,
                                                              .protect_prompt = p.protect_prompt});
    case cuda::ScoreKind::last_row:
      return std::make_unique<PortableHead<TOVA>>(
          TOVA::Options{.capacity = p.capacity,
                        .window = p.recent,
                        .sinks = p.sinks,
                        .protect_prompt = p.protect_prompt});
    case cuda::ScoreKind::age:
      return std::make_unique<PortableHead<StreamingLLM>>(StreamingLLM::Options{
          .capacity = p.capacity, .sinks = p.sinks, .protect_prompt = p.protect_prompt});
    case cuda::ScoreKind::none:
      break;
  }
  if (p.schedule == Schedule::after_prompt) {
    return std::make_unique<PortableHead<SnapKV>>(
        SnapKV::Options{.capacity = p.capacity,
                        .window = p.window,
                        .kernel = p.kernel,
                        .pooling = p.pooling,
                        .sinks = p.sinks,
                        .protect_prompt = p.protect_prompt,
                        .max_tokens = p.slots});
  }
  return std::make_unique<PortableHead<Full>>(Full::Options{.max_tokens = p.slots});
}

}  // namespace morphkv::testing
