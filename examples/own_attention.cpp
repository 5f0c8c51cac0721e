// SPDX-License-Identifier: Apache-2.0
/// \file
/// An engine with its own attention kernel: the policy alone returns the slot of each token, and
/// observes the rows that the kernel computes. One KV head, a prompt and a response; a KVCache runs
/// on the same input for comparison.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

#include "morphkv/morphkv.hpp"
#include "support/made_up_tokens.hpp"

namespace {

using morphkv::Position, morphkv::Slot, morphkv::Status, morphkv::examples::Tokens;

constexpr morphkv::CacheShape shape{.layers = 1, .query_heads = 2, .kv_heads = 1, .head_dim = 32};
constexpr std::size_t group = shape.query_heads, head_dim = shape.head_dim;
constexpr morphkv::MorphKV::Options options{.capacity = 48, .window = 8};

/// The engine's kernel: one token's query heads over the first `count` keys and values. Beside the
/// outputs it computes the row that the policy observes: the softmax weights of the group, fused by
/// their maximum (GroupFusion::max, MorphKV's default).
void attend(const float* queries, const float* keys, const float* values, std::size_t count,
            float* outputs, float* row) {
  std::fill_n(row, count, 0.0F);
  std::vector<float> weights(count);
  for (std::size_t g = 0; g < group; ++g) {
    const float* query = queries + g * head_dim;
    float sum = 0;
    for (std::size_t t = 0; t < count; ++t) {  // logits stay small here: no maximum to subtract
      const float dot = std::inner_product(query, query + head_dim, keys + t * head_dim, 0.0F);
      sum += weights[t] = std::exp(dot / std::sqrt(static_cast<float>(head_dim)));
    }
    float* output = outputs + g * head_dim;
    std::fill_n(output, head_dim, 0.0F);
    for (std::size_t t = 0; t < count; ++t) {
      const float weight = weights[t] / sum;
      row[t] = std::max(row[t], weight);
      for (std::size_t d = 0; d < head_dim; ++d) output[d] += weight * values[t * head_dim + d];
    }
  }
}

/// The row of one token of the prompt, when the policy asks for it: MorphKV asks for the last
/// `window` ones. A token sees those before it and itself; the rest of the row is 0.
Status prompt_row(void* context, std::size_t token, float* row) {
  auto& prompt = *static_cast<Tokens*>(context);
  const std::size_t at = token * group * head_dim;
  std::fill_n(row, prompt.keys.size() / head_dim, 0.0F);
  attend(&prompt.queries[at], prompt.keys.data(), prompt.values.data(), token + 1,
         &prompt.outputs[at], row);
  return Status::ok;
}

}  // namespace

int main() {
  constexpr std::size_t prompt_tokens = 200;
  Tokens prompt(shape, prompt_tokens, 0);
  morphkv::MorphKV policy(options);
  std::vector<float> keys(policy.slots() * head_dim), values(keys.size());
  const auto write = [&](Slot slot, const float* key, const float* value) {
    std::copy_n(key, head_dim, keys.data() + slot * head_dim);
    std::copy_n(value, head_dim, values.data() + slot * head_dim);
  };
  morphkv::KVCache<float, morphkv::MorphKV> cache(shape, options);
  if (cache.prefill(0, prompt.queries, prompt.keys, prompt.values) != Status::ok) return 1;

  // The prompt: it is scored from the rows of its last tokens, and the selected tokens get a slot.
  auto selection = policy.score_block(0, {prompt_tokens, prompt_tokens, &prompt, prompt_row});
  if (policy.select(selection) != Status::ok) return 1;
  const std::vector<Slot> slots = selection.slots;
  policy.commit(selection);
  for (std::size_t t = 0; t < prompt_tokens; ++t) {
    const std::size_t at = t * head_dim;
    if (slots[t] != morphkv::no_slot) write(slots[t], &prompt.keys[at], &prompt.values[at]);
  }

  // The response: each token gets a slot, and its row updates the scores.
  std::vector<float> outputs(group * head_dim);
  float difference = 0;
  for (Position position = prompt_tokens; position < 400; ++position) {
    Tokens token(shape, 1, static_cast<std::uint32_t>(position));
    const morphkv::Placement placement = policy.place(position);
    if (placement.status != Status::ok) return 1;
    write(placement.slot, token.keys.data(), token.values.data());
    std::vector<float> row(policy.size());
    attend(token.queries.data(), keys.data(), values.data(), row.size(), outputs.data(),
           row.data());
    if (policy.observe(row) != Status::ok) return 1;

    if (cache.append(0, token.keys, token.values, position) != Status::ok) return 1;
    if (cache.attend(0, token.queries, token.outputs) != Status::ok) return 1;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      difference = std::max(difference, std::abs(outputs[i] - token.outputs[i]));
    }
  }
  std::printf("400 tokens seen, %zu held; outputs differ from a KVCache's by at most %.1g\n",
              policy.size(), static_cast<double>(difference));
  return difference < 1e-4F ? 0 : 1;
}
