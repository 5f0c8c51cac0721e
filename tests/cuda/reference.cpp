// SPDX-License-Identifier: Apache-2.0
#include "cuda/reference.hpp"

#include "morphkv/eviction/scored_eviction.hpp"
#include "support/duel.hpp"

namespace morphkv::testing {
namespace {

class HostHead final : public Reference {
 public:
  explicit HostHead(const cuda::Policy& policy) : head_(policy) {}

  Placement place(Position position) override { return head_.place(position); }
  Status observe(std::span<const float> row) override { return head_.observe(row); }
  Status prompt(const std::vector<std::vector<float>>& rows,
                std::span<const float> norms) override {
    std::vector<oracle::Row> by_position;
    for (const std::vector<float>& row : rows) by_position.emplace_back(row.begin(), row.end());
    return append_block(head_, 0, by_position, norms);
  }
  [[nodiscard]] std::vector<Position> positions() const override {
    return {head_.positions().begin(), head_.positions().end()};
  }

 private:
  ScoredEviction<AnyScore> head_;
};

}  // namespace

std::unique_ptr<Reference> make_reference(const cuda::Policy& policy) {
  return std::make_unique<HostHead>(policy);
}

}  // namespace morphkv::testing
