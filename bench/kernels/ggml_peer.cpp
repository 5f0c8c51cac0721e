// SPDX-License-Identifier: Apache-2.0
#include "kernels/ggml_peer.hpp"

#include <cstdlib>

#if defined(MORPHKV_BENCH_GGML)
#include <ggml-cpu.h>
#include <ggml.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>
#endif

namespace morphkv::bench {

#if defined(MORPHKV_BENCH_GGML)

namespace {

/// A graph of one node. Its tensors lie in the memory of the problem.
class GgmlAttention {
 public:
  explicit GgmlAttention(const GgmlProblem& p)
      : context_(ggml_init({16 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true})) {
    const std::size_t row = p.heads * p.head_dim;
    ggml_tensor* queries =
        tensor(GGML_TYPE_F32, {p.head_dim, p.rows, p.heads}, row, p.head_dim, p.queries);
    const ggml_type type = p.type == GgmlType::half       ? GGML_TYPE_F16
                           : p.type == GgmlType::bfloat16 ? GGML_TYPE_BF16
                                                          : GGML_TYPE_Q8_0;
    const Sizes sizes{p.head_dim, p.tokens, p.kv_heads};
    ggml_tensor* keys = tensor(type, sizes, p.token_stride, p.head_stride, p.keys);
    ggml_tensor* values = tensor(type, sizes, p.token_stride, p.head_stride, p.values);
    ggml_tensor* outputs =
        ggml_flash_attn_ext(context_.get(), queries, keys, values, p.rows > 1 ? mask(p) : nullptr,
                            1 / std::sqrt(static_cast<float>(p.head_dim)), 0, 0);
    outputs->data = p.outputs;
    graph_ = ggml_new_graph(context_.get());
    ggml_build_forward_expand(graph_, outputs);
    plan_ = ggml_graph_plan(graph_, 1, nullptr);
    work_.resize(plan_.work_size);
    plan_.work_data = work_.data();
  }

  void operator()() {
    if (ggml_graph_compute(graph_, &plan_) != GGML_STATUS_SUCCESS) std::abort();
  }

 private:
  struct Sizes {
    std::size_t columns, rows, matrices;
  };
  struct Free {
    void operator()(ggml_context* context) const { ggml_free(context); }
  };

  ggml_tensor* tensor(ggml_type type, Sizes sizes, std::size_t row_stride,
                      std::size_t matrix_stride, const void* data) {
    const auto signed_size = [](std::size_t size) { return static_cast<std::int64_t>(size); };
    ggml_tensor* t = ggml_new_tensor_3d(context_.get(), type, signed_size(sizes.columns),
                                        signed_size(sizes.rows), signed_size(sizes.matrices));
    t->nb[1] = ggml_row_size(type, signed_size(row_stride));
    t->nb[2] = ggml_row_size(type, signed_size(matrix_stride));
    t->nb[3] = t->nb[2] * sizes.matrices;
    t->data = const_cast<void*>(data);  // NOLINT: a tensor's memory is not const
    return t;
  }
  /// What is added to the logits: minus infinity where a query does not see a token.
  ggml_tensor* mask(const GgmlProblem& p) {
    mask_.assign(p.rows * p.tokens, ggml_fp32_to_fp16(0));
    const ggml_fp16_t hidden = ggml_fp32_to_fp16(-INFINITY);
    for (std::size_t r = 0; r < p.rows; ++r) {
      for (std::size_t t = p.tokens - p.rows + r + 1; t < p.tokens; ++t) {
        mask_[r * p.tokens + t] = hidden;
      }
    }
    return tensor(GGML_TYPE_F16, {p.tokens, p.rows, 1}, p.tokens, p.rows * p.tokens, mask_.data());
  }

  std::unique_ptr<ggml_context, Free> context_;
  std::vector<ggml_fp16_t> mask_;
  ggml_cgraph* graph_ = nullptr;
  ggml_cplan plan_{};
  std::vector<std::uint8_t> work_;
};

}  // namespace

std::string ggml_name() { return std::string("ggml ") + ggml_version(); }

std::function<void()> ggml_attention(const GgmlProblem& problem) {
  return [attention = std::make_shared<GgmlAttention>(problem)] { (*attention)(); };
}

#else

std::string ggml_name() { return {}; }

std::function<void()> ggml_attention(const GgmlProblem&) { std::abort(); }

#endif

}  // namespace morphkv::bench
